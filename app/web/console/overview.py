"""The overview: all tokens together, and the health of Redis; no view reads every token."""

from __future__ import annotations

from typing import Any

from app.core.checkup import Checkup, findings_of
from app.core.durability import Durability
from app.core.errors import StoreUnavailableError
from app.core.server_facts import facts_of
from app.services import services
from app.web.console.blueprint import bp
from app.web.console.rendering import render

Answer = tuple[str, int, dict[str, str]]


@bp.get("/overview")
def overview() -> Answer | str:
    """Show what all tokens add up to, and how Redis is."""
    checkup = services().checkup(services().ping)
    try:
        return render("overview.html", **_redis(checkup, services().registry.durability()), **_tokens())
    except StoreUnavailableError as error:
        page = render("overview.html", problem=str(error), **_redis(checkup, None))
        return page, 503, {"Retry-After": "1"}


def _tokens() -> dict[str, Any]:
    overview, totals = services().overview, services().overview.totals()
    if not totals:
        return {"totals": None}
    traffic = totals.traffic
    return {
        "totals": totals,
        "busiest": overview.users(traffic.busiest),
        "most_refused": overview.users(traffic.most_refused),
    }


def _redis(checkup: Checkup, durability: Durability | None) -> dict[str, Any]:
    facts = [(server.name, [*facts_of(server, durability)]) for server in checkup.servers]
    return {"findings": [*findings_of(checkup)], "servers": facts}
