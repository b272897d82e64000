"""/auth, and the probes beside it: from verdict to answer."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from itertools import product
from typing import NamedTuple, TypeVar
from urllib.parse import quote_from_bytes

import gevent
from flask import Blueprint, Response, request
from flask.blueprints import BlueprintSetupState
from werkzeug.routing import BaseConverter, Rule

from app.core.clients import address_of, client_of, is_trusted
from app.core.credentials import BASIC, BEARER, IDENTITY_HEADERS, schemes
from app.core.errors import StoreUnavailableError
from app.core.failures import COUNTED, Failures
from app.core.gate import Decision, Identity, Verdict
from app.core.limits import Refusal
from app.repeats import Late
from app.services import Services, services
from app.settings import Settings
from app.web.forwarded import Headers, read_attempt

_T = TypeVar("_T")
bp = Blueprint("auth", __name__)
log = logging.getLogger(__name__)


class Outcome(NamedTuple):
    """How HTTP says a verdict; *challenge* follows the realm in WWW-Authenticate (RFC 6750 section 3)."""

    status: int
    body: str
    challenge: str | None = None


INVALID = 'error="invalid_token"'
OUTCOMES: Mapping[Verdict, Outcome] = {
    Verdict.ALLOWED: Outcome(200, "OK"),
    Verdict.NO_CREDENTIAL: Outcome(401, "missing bearer token", ""),
    Verdict.MALFORMED: Outcome(401, "invalid token", 'error="invalid_request"'),
    Verdict.MISTYPED: Outcome(401, "invalid token", INVALID),
    Verdict.UNKNOWN: Outcome(401, "invalid token", INVALID),
    Verdict.EXPIRED: Outcome(401, "invalid token", f'{INVALID}, error_description="the token expired"'),
    Verdict.DISABLED: Outcome(401, "invalid token", INVALID),
    Verdict.NOT_YET: Outcome(401, "invalid token", INVALID),
    Verdict.WRONG_HOST: Outcome(403, "forbidden for host", 'error="insufficient_scope"'),
    Verdict.RATE_LIMITED: Outcome(429, "rate limit exceeded"),
    Verdict.THROTTLED: Outcome(429, "rate limit exceeded"),
    Verdict.UNAVAILABLE: Outcome(503, "redis unavailable"),
}

# The one has no line, the other one of its own, with the reason.
_NO_REFUSAL = {Verdict.ALLOWED, Verdict.UNAVAILABLE}

_API_KEY = "ApiKey"
_PRINTABLE = "".join(map(chr, range(0x20, 0x7F)))


class Answer(NamedTuple):
    """What is sent for a decision, whoever sends it."""

    status: int
    headers: list[tuple[str, str]]
    body: str


def judge(made: Services, headers: Headers, peer: str, render: Callable[[Decision], _T]) -> _T:
    """Decide, say so with *render*, and count that; what can't be decided or said opens nothing."""
    began = time.perf_counter()
    try:
        decision = _judge(made, headers, peer)
        rendered = render(decision)
    except (Exception, gevent.Timeout) as error:  # noqa: BLE001 - the one place that fails closed
        decision = _undecided(error)
        rendered = render(decision)
    made.tally.note(decision.verdict, time.perf_counter() - began)
    if decision.verdict not in _NO_REFUSAL:
        _log_refusal(decision, headers, peer, made.settings)
    return rendered


def _judge(made: Services, headers: Headers, peer: str) -> Decision:
    """Decide; with FAIL_LIMIT_MAX, turn away the clients of our proxies whose tokens were bad too often."""
    failures, settings = made.failures, made.settings
    if failures is None:
        return _decide(made, headers)
    if not is_trusted(peer, settings.trusted_proxies):
        log.error("FAIL_LIMIT_MAX ignores client=%(client)s: not in TRUSTED_PROXIES", {"client": peer})
        return _decide(made, headers)
    client = client_of(peer, headers.get("X-Forwarded-For"), settings.trusted_proxies)
    if refusal := failures.blocking(client):
        return Decision(Verdict.THROTTLED, refusal=refusal)
    return _count(made, failures, client, headers)


def _decide(made: Services, headers: Headers) -> Decision:
    return made.gate.check(read_attempt(headers, made.settings.credential_sources))


def _count(made: Services, failures: Failures, client: str, headers: Headers) -> Decision:
    """Decide and note what was bad, within one deadline; what can't be noted is not told either."""
    with gevent.Timeout(made.settings.redis_deadline_ms / 1000):
        decision = _decide(made, headers)
        refusal = failures.note(client) if decision.verdict in COUNTED else None
    return Decision(Verdict.THROTTLED, refusal=refusal) if refusal else decision


def _undecided(error: BaseException) -> Decision:
    """Return that there is no decision, and log why: with the traceback if it is a fault of ours."""
    is_foreseen = isinstance(error, StoreUnavailableError | gevent.Timeout)
    why = error if isinstance(error, StoreUnavailableError) else f"{type(error).__name__}: {error}"
    fields = {"verdict": Verdict.UNAVAILABLE, "error": why}
    log.error("no decision, redis unavailable: %(error)s", fields, exc_info=None if is_foreseen else error)
    return Decision(Verdict.UNAVAILABLE)


def answer(decision: Decision, settings: Settings) -> Answer:
    """Say *decision* in HTTP."""
    outcome = OUTCOMES[decision.verdict]
    headers = [("Content-Type", "text/plain; charset=utf-8"), ("Cache-Control", "no-store")]
    if outcome.challenge is not None:
        headers += _challenges(outcome, settings)
    if decision.verdict is Verdict.ALLOWED and decision.identity:
        headers += _identity_headers(decision.identity)
    if decision.refusal:
        headers += _limit_headers(decision.refusal)
    if decision.verdict is Verdict.UNAVAILABLE:
        headers.append(("Retry-After", "1"))
    return Answer(outcome.status, headers, _body(decision.verdict, outcome, settings))


def _body(verdict: Verdict, outcome: Outcome, settings: Settings) -> str:
    if verdict is Verdict.NO_CREDENTIAL and BEARER not in schemes(settings.credential_sources):
        return "missing token"
    return outcome.body


def _challenges(outcome: Outcome, settings: Settings) -> list[tuple[str, str]]:
    """Return a challenge for each accepted scheme; a 403 is Bearer's alone (RFC 6750 section 3.1).

    X-Api-Key is no scheme. It is challenged where there is no other, because a 401 must have a challenge
    (RFC 9110 section 15.5.2); before another it would hide that from clients that read the first alone.
    """
    accepted = schemes(settings.credential_sources) or (_API_KEY,)
    if outcome.status == HTTPStatus.FORBIDDEN:
        accepted = tuple(scheme for scheme in accepted if scheme == BEARER)
    said = {BEARER: outcome.challenge, BASIC: 'charset="UTF-8"', _API_KEY: 'header="X-Api-Key"'}
    realm = f'realm="{settings.auth_realm}"'
    return [
        ("WWW-Authenticate", ", ".join(filter(None, [f"{scheme} {realm}", said[scheme]])))
        for scheme in accepted
    ]


def _identity_headers(identity: Identity) -> list[tuple[str, str]]:
    return list(zip(IDENTITY_HEADERS, map(_header_text, identity), strict=True))


def _header_text(value: bytes) -> str:
    return quote_from_bytes(value, safe=_PRINTABLE)


def _limit_headers(refusal: Refusal) -> list[tuple[str, str]]:
    """RFC 9110 section 10.2.3, draft-ietf-httpapi-ratelimit-headers-11, and X- names (reset in seconds)."""
    limit, wait = refusal.limit, refusal.retry_after_s
    return [
        ("Retry-After", f"{wait}"),
        ("RateLimit-Policy", f'"default";q={limit.max_requests};w={limit.window_s}'),
        ("RateLimit", f'"default";r=0;t={wait}'),
        ("X-RateLimit-Limit", f"{limit.max_requests}"),
        ("X-RateLimit-Remaining", "0"),
        ("X-RateLimit-Reset", f"{wait}"),
    ]


def _log_refusal(decision: Decision, headers: Headers, peer: str, settings: Settings) -> None:
    if not log.isEnabledFor(logging.INFO):
        return
    fields = {
        "verdict": decision.verdict,
        "token": _header_text(decision.identity.token_id) if decision.identity else "-",
        "host": headers.get("X-Forwarded-Host"),
        "client": Late(address_of, peer, headers.get("X-Forwarded-For"), settings.trusted_proxies),
    }
    log.info("refused verdict=%(verdict)s token=%(token).80s host=%(host).80r client=%(client)s", fields)


def check(**_: str) -> Response:
    """Answer a ForwardAuth sub-request."""
    made = services()
    said = judge(made, request.headers, request.remote_addr or "", lambda it: answer(it, made.settings))
    return Response(said.body, said.status, said.headers)


@bp.get("/healthz", provide_automatic_options=False)
def healthz() -> Response:
    """Tell whether decisions can be made now."""
    try:
        services().ping()
    except StoreUnavailableError as error:
        log.warning("healthz, redis unavailable: %(error)s", {"error": error})
        return _plain("redis unavailable", 503)
    return _plain("ok", 200)


@bp.get("/livez", provide_automatic_options=False)
def livez() -> Response:
    """Tell that the process serves; never asks Redis, so that no orchestrator restarts us for its sake."""
    return _plain("ok", 200)


def _plain(body: str, status: int) -> Response:
    return Response(body, status, mimetype="text/plain", headers={"Cache-Control": "no-store"})


class _Anything(BaseConverter):
    """The rest of a path, whatever it is."""

    regex = "[\\s\\S]*"
    part_isolating = False


@bp.record_once
def _route_every_method(state: BlueprintSetupState) -> None:
    """Register /auth by hand: Flask's own way wants a list of methods and answers OPTIONS itself.

    Envoy appends the client's path. Each rule twice, because a request that asks for a WebSocket meets only
    rules for such.
    """
    state.app.url_map.converters["anything"] = _Anything
    for path, is_socket in product(("/auth", "/auth/<anything:_>"), (False, True)):
        rule = Rule(path, endpoint="auth.check", methods=None, merge_slashes=False, websocket=is_socket)
        state.app.url_map.add(rule)
    state.app.view_functions["auth.check"] = check
