"""/self, where the holder of a token can read, rotate and end it (docs/decisions/0026)."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import cast

import gevent
from flask import Blueprint, Response, g, request

from app.core.audit import Actor
from app.core.errors import StoreUnavailableError, TooManyRotationsError
from app.core.fields import KEPT
from app.core.held import Held
from app.core.tokens import Token
from app.core.verdicts import Decision, Verdict
from app.services import Services, services
from app.web import bodies, parameters
from app.web.actors import address, holder
from app.web.answers import render
from app.web.auth import decide, log_refusal
from app.web.forwarded import Headers, read_attempt
from app.web.messages import logged_effect
from app.web.own_schema import OWN
from app.web.problems import SELF, problem
from app.web.shown import Answer, Shown, answer_with_problems, durability_of

log = logging.getLogger(__name__)

_DEFAULTS = {field.name: field.setting for field in KEPT if field.setting}
_HOUR_S = 3600


def blueprint(*, is_full: bool) -> Blueprint:
    """Return the routes, and those that change the token if *is_full*."""
    bp = Blueprint("self_service", __name__)
    bp.before_request(_require_secret)
    bp.before_request(parameters.refuse_others)
    bp.add_url_rule(SELF, view_func=show_self)
    if is_full:
        bp.add_url_rule(f"{SELF}/rotate", view_func=rotate_self, methods=["POST"])
        bp.add_url_rule(SELF, view_func=end_self, methods=["DELETE"])
    answer_with_problems(bp)
    bp.register_error_handler(TooManyRotationsError, _show_too_many)
    bp.register_error_handler(StoreUnavailableError, _show_unavailable)
    return bp


def show_self() -> Shown:
    """Return the token, its limits and what is left of its quota."""
    return _own(_held().token, is_replaced=_held().is_replaced)


def rotate_self() -> Answer:
    """Give the token a new secret and return it, only this once."""
    issued = services().holders.rotate(_actor(), _held(), bodies.grace(request))
    _log_change("rotated the token")
    return {"token": issued.secret} | _own(issued.token, is_replaced=False), 201, durability_of(issued)


def end_self() -> Answer:
    """Delete the token, or end the secret alone if a rotation replaced it."""
    change = services().holders.end(_actor(), _held())
    _log_change("ended a replaced secret of the token" if _held().is_replaced else "deleted the token")
    return "", 204, durability_of(change)


def _require_secret() -> Response | None:
    """Refuse a request without a token in the way of /auth, and keep the token for the view."""
    current, peer = services(), request.remote_addr or ""
    try:
        decision = decide(current, request.headers, peer, _recognize)
    except gevent.Timeout:  # of the deadline for a bad token and for counting it
        raise StoreUnavailableError("Redis did not answer in time") from None
    if decision.verdict is Verdict.ALLOWED:
        return None
    log_refusal(decision, request.headers, peer, current.settings, request.path)
    answer = render(decision, replace(current.settings, refusal_format="json"))
    return Response(answer.body, answer.status, answer.headers)


def _recognize(current: Services, headers: Headers, peer: str) -> Decision:
    settings = current.settings
    attempt = read_attempt(headers, settings.credential_sources, peer, settings.trusted_proxies)
    # Whoever finds a leaked token can end it, wherever they are.
    found = current.holders.recognize(attempt, anywhere=request.method == "DELETE")
    if isinstance(found, Decision):
        return found
    g.held = found
    return Decision(Verdict.ALLOWED)


def _held() -> Held:
    return cast(Held, g.held)


def _actor() -> Actor:
    return holder(_held().token.id)


def _own(token: Token, *, is_replaced: bool) -> Shown:
    """Return what the holder may see of *token*, with defaults for the limits that it does not set."""
    now_s, settings = services().registry.now_s, services().settings
    described = token.described(now_s)
    own = {name: described[name] for name in OWN}
    own |= {name: getattr(settings, setting) for name, setting in _DEFAULTS.items() if own[name] is None}
    return own | {"quota": token.described_quota(now_s), "replaced": is_replaced}


def _log_change(change: str) -> None:
    fields = {"change": change, "token": _held().token.id, "client": address()}
    log.info("the holder %(change)s token=%(token)s client=%(client)s", fields)


def _show_unavailable(error: StoreUnavailableError) -> Response:
    """Return 503 without the reason, which is for the operator, and with the effect only for a holder."""
    effect = logged_effect(error, request.endpoint)
    detail = f"redis unavailable. {effect}" if "held" in g else "redis unavailable"
    return problem(503, detail, {"Retry-After": "1"})


def _show_too_many(error: TooManyRotationsError) -> Response:
    return problem(429, str(error), {"Retry-After": f"{_HOUR_S}"})
