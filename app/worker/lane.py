"""The responses of the express lane, byte for byte those of Flask and gunicorn (docs/decisions/0007)."""

from __future__ import annotations

import time
from functools import lru_cache
from http import HTTPStatus

from gunicorn import SERVER
from gunicorn.util import http_date

from app.core.backends import Added
from app.core.cache import BoundedCache
from app.core.verdicts import Decision, Verdict
from app.services import Services
from app.web.answers import render
from app.web.auth import respond
from app.web.forwarded import Headers
from app.worker.recognizer import Request, field_names

_VERSIONS = (b"HTTP/1.0", b"HTTP/1.1")  # by minor version
_KEEP_ALIVE, _CLOSE = b"\r\nConnection: keep-alive\r\n", b"\r\nConnection: close\r\n"
_MAX_CACHE_BYTES = 4 * 1024 * 1024
_CACHE_ENTRY_BYTES = 600  # of overhead
_PLAIN = {verdict: Decision(verdict) for verdict in Verdict}

# The bytes between the version and the date, those between the Connection field and the body, and the body.
Rendered = tuple[bytes, bytes, bytes]


class Lane:
    """Decides recognized requests, and composes the responses that Flask and gunicorn would send."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._settings = services.settings
        self.names = field_names(self._settings.credential_sources)
        self._note_express = services.tally.note_express
        self._backends = services.backends
        self._cached = BoundedCache(self._render, _size, _MAX_CACHE_BYTES)
        self._cached_for_backend = BoundedCache(self._render_for_backend, _size_for_backend, _MAX_CACHE_BYTES)
        self._rendered = self._rendered_for_host if services.backends else self._rendered_for_any

    def decide(self, fields: dict[str, str], peer: str) -> Rendered:
        """Pass a request to the gate; return the response without its version, date and Connection field."""
        rendered = respond(self._services, fields, peer, self._rendered)
        self._note_express()  # afterward, so that no decision is counted here first
        return rendered

    def compose(self, request: Request, rendered: Rendered, *, closing: bool) -> bytes:
        """Return the complete response to *request*."""
        before, after, body = rendered
        connection = _CLOSE if closing else _KEEP_ALIVE
        body = b"" if request.is_head else body
        return b"".join(
            (_VERSIONS[request.version], before, _date(int(time.time())), connection, after, body)
        )

    def _rendered_for_host(self, decision: Decision, fields: Headers) -> Rendered:
        """Return the response with the headers of the backend that was requested, if it has any."""
        if decision.verdict is Verdict.ALLOWED and (
            added := self._backends.headers_for(fields.get("X-Forwarded-Host"))
        ):
            return self._cached_for_backend((decision, added))
        return self._rendered_for_any(decision, fields)

    def _rendered_for_any(self, decision: Decision, _: Headers) -> Rendered:
        """Return the response from the cache, if it may be cached.

        A refusal is cached once for each verdict, and never if it has a Retry-After, which differs each time.
        """
        if decision.verdict is Verdict.ALLOWED:
            return self._cached(decision)
        if decision.refusal:
            return self._render(decision)
        return self._cached(_PLAIN[decision.verdict])

    def _render_for_backend(self, key: tuple[Decision, Added]) -> Rendered:
        return self._render(*key)

    def _render(self, decision: Decision, added: Added = ()) -> Rendered:
        response = render(decision, self._settings, added)
        status = f"{response.status} {HTTPStatus(response.status).phrase.upper()}"
        fields = "".join([f"{name}: {value}\r\n" for name, value in response.headers])
        return (
            f" {status}\r\nServer: {SERVER}\r\nDate: ".encode(),
            f"{fields}Content-Length: {len(response.body)}\r\n\r\n".encode("latin-1"),
            response.body.encode(),
        )


def _size(decision: Decision, rendered: Rendered) -> int:
    return _CACHE_ENTRY_BYTES + sum(map(len, rendered)) + sum(map(len, decision.identity or ()))


def _size_for_backend(key: tuple[Decision, Added], rendered: Rendered) -> int:
    return _size(key[0], rendered)


@lru_cache(maxsize=1)
def _date(now_s: int) -> bytes:
    return http_date(now_s).encode()
