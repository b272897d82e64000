"""The page of the audit log: who changed what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flask import request, url_for

from app.core.audit import Action, Entry, FoundEntries
from app.core.errors import NoSuchTokenError
from app.core.fields import InvalidFieldsError
from app.services import services
from app.web import audit, parameters, trials
from app.web.console.blueprint import bp
from app.web.console.rendering import Shown, render

FILTERS = ("token", "actor", "action", "since")
_NOTHING = FoundEntries((), None)


@bp.get("/audit")
def audit_page() -> Shown:
    """Show the newest entries, all or those that are asked for, from ``cursor`` on."""
    try:
        parameters.refuse_others({*FILTERS, "cursor", "limit"})
        found = audit.find(request.args)
    except InvalidFieldsError as error:
        return _page(_NOTHING, problems=error.problems), 400
    except NoSuchTokenError as error:
        return _page(_NOTHING, problems={"token": str(error)}), 404
    return _page(found)


def _page(found: FoundEntries, problems: Mapping[str, str] | None = None) -> str:
    wanted = {name: text for name in FILTERS if (text := request.args.get(name))}
    wanted = trials.without_secrets(wanted, "token")
    return render(
        "audit.html",
        found=found,
        linked=_linked(found.entries),
        problems=problems or {},
        wanted=wanted,
        actions=[*map(str, Action)],
        older=_address(wanted, found.more),
        is_first=not request.args.get("cursor"),
    )


def _linked(entries: Sequence[Entry]) -> set[str]:
    """Return the ids of the tokens that have a page."""
    return services().catalog.stored({entry.token_id for entry in entries if entry.token_id})


def _address(wanted: Mapping[str, Any], cursor: str | None) -> str:
    return url_for("admin.audit_page", **wanted, cursor=cursor) if cursor else ""
