"""What every request but those to /auth must pass first, and what every answer to them carries."""

from __future__ import annotations

import time
from typing import IO
from urllib.parse import urlsplit

import gevent
from flask import Flask, Response, abort, request
from werkzeug.exceptions import RequestTimeout

from app.web.forwarded import is_subrequest

_BODY_DEADLINE_S = 5.0
_SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}
_DEFAULT_PORTS = {"http": 80, "https": 443}
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
    """Put the guards before and behind every view of *app*."""
    app.before_request(_refuse_subrequest)
    app.before_request(_refuse_raw_query)
    app.before_request(_refuse_cross_site)
    app.before_request(_hurry)
    app.after_request(_secure)


def _refuse_subrequest() -> None:
    # A 2xx to a ForwardAuth sub-request would open the backend behind it.
    if request.endpoint != "auth.check" and is_subrequest(request.headers):
        abort(403, "this address answers no ForwardAuth; send it to /auth")


def _refuse_raw_query() -> None:
    # Werkzeug decodes it as UTF-8 and raises; a URL has only ASCII (RFC 3986 section 2).
    if request.endpoint != "auth.check" and not request.query_string.isascii():
        abort(400, "the query string has bytes beyond ASCII; percent-encode them")


def _refuse_cross_site() -> None:
    if request.endpoint == "auth.check" or request.method in _SAFE_METHODS:
        return
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if not (site == "same-origin" if site is not None else origin is None or _is_own(origin)):
        abort(403, "this request came from another site; nothing was changed")


def _is_own(origin: str) -> bool:
    """Tell whether *origin* names the host that this request was sent to (RFC 6454 section 4)."""
    try:
        theirs = urlsplit(origin)
        ours = urlsplit(f"{theirs.scheme}://{request.host}")
        default = _DEFAULT_PORTS[theirs.scheme]
        same_port = (theirs.port or default) == (ours.port or default)
    except (ValueError, KeyError):
        return False
    return same_port and bool(theirs.hostname) and theirs.hostname == ours.hostname


class _Hurried:
    """A body that must be read by its deadline, all reads together."""

    def __init__(self, body: IO[bytes], deadline_s: float) -> None:
        self._body = body
        self._end = time.monotonic() + deadline_s

    def read(self, size: int = -1) -> bytes:
        """Read at most *size* bytes; raises RequestTimeout."""
        late = RequestTimeout(
            "The request's body did not arrive in time; nothing was changed. Send it again."
        )
        with gevent.Timeout(max(0, self._end - time.monotonic()), late):
            return self._body.read(size)


def _hurry() -> None:
    # By need, not here: who has no password is refused without a byte of the body.
    request.environ["wsgi.input"] = _Hurried(request.environ["wsgi.input"], _BODY_DEADLINE_S)


def _secure(response: Response) -> Response:
    if request.endpoint != "auth.check":
        for name, value in _SECURITY_HEADERS.items():
            response.headers.setdefault(name, value)
    return response
