"""Checks before every view but /auth, and security headers for its response (docs/decisions/0004)."""

from __future__ import annotations

import logging
import time
from typing import IO
from urllib.parse import urlsplit

import gevent
from flask import Flask, Response, abort, request
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import BadRequest, RequestTimeout

from app.core.clients import address_of
from app.core.hosts import normalize
from app.services import services
from app.web import admission
from app.web.forwarded import is_subrequest

log = logging.getLogger(__name__)

_BODY_DEADLINE_S = 5.0
_MAX_ORIGIN = 300
_SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}
_DEFAULT_PORTS = {"http": 80, "https": 443}
_OWN_PAGE = "Open the page of this service and send it from there"
_OWN_PROXY = (
    "If it was sent from a page of this service, a proxy in between has changed Host: it must pass on Host "
    "as the browser sent it, with its port (nginx: proxy_set_header Host $http_host;)"
)
_SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Not no-referrer: with that, browsers send "Origin: null" from our own forms.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def guard(app: Flask) -> None:
    """Run the guards before and after every view of *app*."""
    app.before_request(_refuse_subrequest)
    app.before_request(_refuse_malformed_host)
    app.before_request(admission.refuse_network)
    app.before_request(admission.refuse_host)
    app.before_request(_refuse_raw_query)
    app.before_request(_refuse_cross_site)
    app.before_request(_limit_body_time)
    app.after_request(_secure)


def _refuse_subrequest() -> None:
    # A 2xx to a ForwardAuth sub-request would open the backend behind it.
    if request.endpoint != "auth.check" and is_subrequest(request.headers):
        abort(403, "this address does not serve ForwardAuth; send it to /auth")


def _refuse_malformed_host() -> None:
    if request.endpoint != "auth.check" and not _is_host(request.headers.get("Host")):
        abort(400, "the Host header is not a valid host")


def _is_host(sent: str | None) -> bool:
    # Only HTTP/1.0 may omit it (RFC 9112 section 3.2), and it is never blank (RFC 9110 section 4.2.1).
    if sent is None:
        return request.environ.get("SERVER_PROTOCOL") == "HTTP/1.0"
    try:
        return normalize(sent) is not None and urlsplit(f"//{sent}").port != 0
    except ValueError:  # a port above 65535
        return False


def _refuse_raw_query() -> None:
    # Werkzeug decodes it as UTF-8 and raises; a URL has only ASCII (RFC 3986 section 2).
    if request.endpoint != "auth.check" and not request.query_string.isascii():
        abort(400, "the query string has bytes beyond ASCII; percent-encode them")


def _refuse_cross_site() -> None:
    if request.endpoint == "auth.check" or request.method in _SAFE_METHODS:
        return
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if not (site == "same-origin" if site is not None else origin is None or _is_own(origin)):
        sent = ", ".join(f"{name} {_quoted(name)}" for name in ("Sec-Fetch-Site", "Origin", "Host"))
        advice = _OWN_PROXY if site is None else _OWN_PAGE
        _log_refusal(sent, advice)
        abort(403, f"this request came from another site; nothing was changed. Received: {sent}. {advice}.")


def _log_refusal(sent: str, advice: str) -> None:
    proxies, forwarded_for = services().settings.trusted_proxies, request.headers.get("X-Forwarded-For")
    client = address_of(request.remote_addr or "", forwarded_for, proxies)
    fields = {"sent": sent, "advice": advice, "client": client, "host": request.headers.get("Host")}
    log.error("refused a request from another site client=%(client)s: %(sent)s. %(advice)s", fields)


def _quoted(name: str) -> str:
    """Return a header for a page and the log: short, and without control characters or markup."""
    value = request.headers.get(name)
    return "absent" if value is None else ascii(value[:100])


def _is_own(origin: str) -> bool:
    """Tell whether *origin* names the host that received this request (RFC 6454 section 4)."""
    if len(origin) > _MAX_ORIGIN:  # urlsplit caches its arguments
        return False
    try:
        theirs = urlsplit(origin)
        ours = urlsplit(f"{theirs.scheme}://{request.headers.get('Host', '')}")
        default = _DEFAULT_PORTS[theirs.scheme]
        same_port = (theirs.port or default) == (ours.port or default)
    except (ValueError, KeyError):
        return False
    return same_port and bool(theirs.hostname) and theirs.hostname == ours.hostname


class _TimedBody:
    """A request body with one deadline for all reads together."""

    def __init__(self, body: IO[bytes], deadline_s: float) -> None:
        self._body = body
        self._deadline = time.monotonic() + deadline_s

    def read(self, size: int = -1) -> bytes:
        """Read at most *size* bytes; raise RequestTimeout, or BadRequest for malformed chunks."""
        timeout = RequestTimeout(
            "The request's body did not arrive in time; nothing was changed. Send it again."
        )
        try:
            with gevent.Timeout(max(0, self._deadline - time.monotonic()), timeout):
                return self._body.read(size)
        except (ParseException, OSError):
            raise BadRequest("The request's body is malformed or incomplete; nothing was changed.") from None


def _limit_body_time() -> None:
    # Views read it after the password was checked: without one, no byte of the body is read.
    request.environ["wsgi.input"] = _TimedBody(request.environ["wsgi.input"], _BODY_DEADLINE_S)


def _secure(response: Response) -> Response:
    if request.endpoint != "auth.check":
        for name, value in _SECURITY_HEADERS.items():
            response.headers.setdefault(name, value)
    return response
