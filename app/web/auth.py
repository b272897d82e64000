"""The view of /auth and the health probes; any unforeseen failure around a decision becomes a 503 here."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from itertools import product
from typing import TypeVar

import gevent
from flask import Blueprint, Response, request
from flask.blueprints import BlueprintSetupState
from werkzeug.routing import BaseConverter, Rule

from app.core.clients import address_of, client_of, is_trusted
from app.core.errors import StoreUnavailableError
from app.core.failures import COUNTED
from app.core.verdicts import Decision, Verdict
from app.repeats import LazyText
from app.services import Services, services
from app.settings import Settings
from app.web.answers import Answer, header_text, render
from app.web.forwarded import Headers, read_attempt

_T = TypeVar("_T")
Check = Callable[[Services, Headers, str], Decision]
bp = Blueprint("auth", __name__)
log = logging.getLogger(__name__)

_REFUSED = "refused verdict=%(verdict)s token=%(token).80s host=%(host).80r client=%(client)s"
_ALLOWED = _REFUSED.replace("refused verdict=%(verdict)s", "allowed")
_ENDED = _REFUSED.replace(" host=", " ended=%(ended)s host=")
_HOST, _PATH = " host=%(host).80r", " path=%(path)s"


def respond(services: Services, headers: Headers, peer: str, render: Callable[[Decision, Headers], _T]) -> _T:
    """Return the decision as *render* renders it for a request with *headers*, and count it.

    This is the one place that fails closed: a failure to decide or to render becomes UNAVAILABLE.
    """
    began = time.perf_counter()
    try:
        decision = decide(services, headers, peer)
        rendered = render(decision, headers)
    except (Exception, gevent.Timeout) as error:  # noqa: BLE001 - the one place that fails closed
        decision = _undecided(error)
        rendered = render(decision, headers)
    services.tally.note(decision.verdict, time.perf_counter() - began)
    if decision.verdict not in services.unlogged:
        _log_decision(decision, headers, peer, services.settings)
    return rendered


def _check(services: Services, headers: Headers, peer: str) -> Decision:
    settings = services.settings
    attempt = read_attempt(headers, settings.credential_sources, peer, settings.trusted_proxies)
    return services.gate.check(attempt)


def decide(services: Services, headers: Headers, peer: str, check: Check = _check) -> Decision:
    """Return the decision of *check*; with FAIL_LIMIT_MAX, a client is throttled after many bad tokens.

    A bad token is found and counted within one deadline. If counting fails, the decision fails: an attacker
    must not learn whether a guess was right.
    """
    failures, settings = services.failures, services.settings
    if failures is None:
        return check(services, headers, peer)
    if not is_trusted(peer, settings.trusted_proxies):
        log.error("FAIL_LIMIT_MAX ignores client=%(client)s: not in TRUSTED_PROXIES", {"client": peer})
        return check(services, headers, peer)
    client = client_of(peer, headers.get("X-Forwarded-For"), settings.trusted_proxies)
    if refusal := failures.blocking(client):
        return Decision(Verdict.THROTTLED_CLIENT, refusal=refusal)
    with gevent.Timeout(settings.redis_deadline_ms / 1000):
        decision = check(services, headers, peer)
        refusal = failures.note(client) if decision.verdict in COUNTED else None
    return Decision(Verdict.THROTTLED_CLIENT, refusal=refusal) if refusal else decision


def _undecided(error: BaseException) -> Decision:
    """Return UNAVAILABLE and log the reason, with the traceback of an error that is not expected of Redis."""
    is_expected = isinstance(error, StoreUnavailableError | gevent.Timeout)
    reason = error if isinstance(error, StoreUnavailableError) else f"{type(error).__name__}: {error}"
    fields = {"verdict": Verdict.UNAVAILABLE, "error": reason}
    log.error("no decision, redis unavailable: %(error)s", fields, exc_info=None if is_expected else error)
    return Decision(Verdict.UNAVAILABLE)


def _log_decision(decision: Decision, headers: Headers, peer: str, settings: Settings) -> None:
    if decision.verdict is Verdict.ALLOWED:
        log.debug(_ALLOWED, _facts(decision, headers, peer, settings) | _requested(headers))
    else:
        log_refusal(decision, headers, peer, settings)


def log_refusal(
    decision: Decision, headers: Headers, peer: str, settings: Settings, path: str | None = None
) -> None:
    """Log a refusal with the id of the token and the address of the client.

    A *path* is one of this service, and takes the place of what was requested of a backend.
    """
    if not log.isEnabledFor(logging.INFO):
        return
    line = _ENDED if decision.ending else _REFUSED
    where = {"path": path} if path else _requested(headers)
    facts = _facts(decision, headers, peer, settings)
    log.info(line.replace(_HOST, _PATH) if path else line, facts | where)


def _facts(decision: Decision, headers: Headers, peer: str, settings: Settings) -> dict[str, object]:
    request_id = headers.get("X-Request-Id")
    return {
        "verdict": decision.verdict,
        "token": header_text(decision.identity.token_id) if decision.identity else "-",
        **({"ended": decision.ending} if decision.ending else {}),
        "client": LazyText(address_of, peer, headers.get("X-Forwarded-For"), settings.trusted_proxies),
        **({"request_id": request_id} if request_id else {}),
    }


def _requested(headers: Headers) -> dict[str, object]:
    """Return what was requested of a backend, without the query, which may hold a secret."""
    uri = headers.get("X-Forwarded-Uri")
    return {
        "host": headers.get("X-Forwarded-Host"),
        "method": headers.get("X-Forwarded-Method"),
        "path": uri and uri.partition("?")[0],
    }


def _answer(services: Services, decision: Decision, headers: Headers) -> Answer:
    is_allowed = decision.verdict is Verdict.ALLOWED
    added = services.backends.headers_for(headers.get("X-Forwarded-Host")) if is_allowed else ()
    return render(decision, services.settings, added)


def check(**_: str) -> Response:
    """Answer a ForwardAuth sub-request."""
    current = services()
    answer = respond(current, request.headers, request.remote_addr or "", partial(_answer, current))
    return Response(answer.body, answer.status, answer.headers)


@bp.get("/healthz", provide_automatic_options=False)
def healthz() -> Response:
    """Answer 200 if a decision could be made now."""
    try:
        services().ping()
    except StoreUnavailableError as error:
        log.warning("healthz, redis unavailable: %(error)s", {"error": error})
        return _plain("redis unavailable", 503)
    return _plain("ok", 200)


@bp.get("/livez", provide_automatic_options=False)
def livez() -> Response:
    """Answer 200, without Redis, whose failure must not make an orchestrator restart this process."""
    return _plain("ok", 200)


def _plain(body: str, status: int) -> Response:
    return Response(body, status, mimetype="text/plain", headers={"Cache-Control": "no-store"})


class _Anything(BaseConverter):
    """The rest of a path, slashes and line ends included."""

    regex = "[\\s\\S]*"
    part_isolating = False


@bp.record_once
def _route_every_method(state: BlueprintSetupState) -> None:
    """Register /auth for every method: Flask's own decorator needs a list of them and answers OPTIONS itself.

    Envoy appends the client's path. Each rule is there twice, because werkzeug matches an upgrade to
    WebSocket only with rules for WebSockets.
    """
    state.app.url_map.converters["anything"] = _Anything
    for path, is_socket in product(("/auth", "/auth/<anything:_>"), (False, True)):
        rule = Rule(path, endpoint="auth.check", methods=None, merge_slashes=False, websocket=is_socket)
        state.app.url_map.add(rule)
    state.app.view_functions["auth.check"] = check
