"""The express lane: a gunicorn worker that answers the plain GET /auth straight from its bytes.

It recognizes a subset of HTTP, it is no second parser. A head that fits the grammar below as a whole is put
to the same gate and gets the same answer; anything else, any doubt, goes with all its bytes to gunicorn and
Flask.
"""

from __future__ import annotations

import re
from functools import lru_cache
from http import HTTPStatus
from typing import Any, cast

from flask import Flask
from gevent import socket
from gunicorn import SERVER
from gunicorn.util import http_date

from app.services import Services, of
from app.web.auth import Answer, answer, decide
from app.web.draining import DrainingWorker

_MAX_HEAD_BYTES = 4096
_MAX_FIELDS = 30
_READ_BYTES = 8192

_NAMES = (
    rb"Host|User-Agent|Accept|Accept-Encoding|Accept-Language|Authorization|Proxy-Authorization|X-Api-Key|Cookie|"
    rb"Connection|X-Real-Ip|X-Forwarded-(?:For|Host|Method|Port|Proto|Server|Uri)"
)
_FIELD = re.compile(rb"(%s): ?((?:[!-~](?:[ -~]*[!-~])?)?)\r\n" % _NAMES, re.IGNORECASE)
_REQUEST_LINE = re.compile(rb"GET /auth(?:\?[A-Za-z0-9._~!$&'()*+,;=:@/?%-]*)? HTTP/1\.1\r\n")
_CONNECTIONS = {None, "close", "keep-alive"}
_HOST = re.compile(r"[A-Za-z0-9._-]+(?::[0-9]{1,5})?", re.ASCII)


class Fields(dict[str, str]):
    """The header fields of one head, by lower-case name, none of them twice."""

    def get(self, name: str, default: Any = None, /) -> Any:
        """Return the value of the field *name*, whatever its case."""
        return super().get(name.lower(), default)


def recognize(data: bytes) -> tuple[Fields, int] | None:
    """Return the fields of the head that *data* begins with, and where it ends; None if in any doubt."""
    line = _REQUEST_LINE.match(data)
    if not line:
        return None
    fields, at = Fields(), line.end()
    while match := _FIELD.match(data, at):
        name = match[1].decode().lower()
        if name in fields:
            return None
        fields[name] = match[2].decode()
        at = match.end()
    if data[at : at + 2] != b"\r\n" or at + 2 > _MAX_HEAD_BYTES or len(fields) > _MAX_FIELDS:
        return None
    if not _HOST.fullmatch(fields.get("host", "")) or fields.get("connection") not in _CONNECTIONS:
        return None
    return fields, at + 2


def render(said: Answer, *, closing: bool) -> bytes:
    """Return *said* as gunicorn would send it."""
    fields = "".join([f"{name}: {value}\r\n" for name, value in said.headers])
    connection = "close" if closing else "keep-alive"
    return (
        f"HTTP/1.1 {_status(said.status)}\r\nServer: {SERVER}\r\nDate: {http_date()}\r\n"
        f"Connection: {connection}\r\n{fields}Content-Length: {len(said.body)}\r\n\r\n{said.body}"
    ).encode("latin-1")


@lru_cache
def _status(code: int) -> str:
    return f"{code} {HTTPStatus(code).phrase.upper()}"


class Replay:
    """A socket whose first bytes were read already, and are read again."""

    def __init__(self, client: socket.socket, read: bytes) -> None:
        self._client = client
        self._read = read

    def recv(self, size: int) -> bytes:
        """Return at most *size* bytes, those that were read first."""
        if not self._read:
            return self._client.recv(size)
        part, self._read = self._read[:size], self._read[size:]
        return part

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)


class ExpressWorker(DrainingWorker):
    """The worker with the express lane before it."""

    _services: Services | None = None

    def load_wsgi(self) -> None:
        """Load the app; with TLS or an access log every request takes gunicorn's way."""
        super().load_wsgi()
        if not self.cfg.is_ssl and not self.cfg.accesslog and self.cfg.keepalive:
            self._services = of(cast(Flask, self.wsgi))

    def converse(self, listener: Any, client: Any, addr: Any) -> None:
        """Answer what the lane takes, and from the first doubt on leave the rest to gunicorn."""
        rest = self._express(client, self._services) if self._services else client
        if rest is not None:
            super().converse(listener, rest, addr)

    def _express(self, client: socket.socket, services: Services) -> Any:
        """Answer what is recognized; return the socket for gunicorn to go on with, None if it is closed."""
        client.settimeout(self.cfg.keepalive)
        data = b""
        try:
            while data or (data := client.recv(_READ_BYTES)):
                recognized = recognize(data)
                if recognized is None:
                    return Replay(client, data)
                fields, end = recognized
                data = data[end:]
                if self._answer(client, fields, services):
                    break
        except OSError as error:
            self.log.debug("Closing connection. %s", error)
        client.close()
        return None

    def _answer(self, client: socket.socket, fields: Fields, services: Services) -> bool:
        """Send one answer; return whether it was the last on this connection."""
        self.nr += 1
        if self.nr >= self.max_requests and self.alive:
            self.log.info("Autorestarting worker after current request.")
            self.alive = False
        settings = services.settings
        said = answer(decide(services.gate, fields, settings.credential_sources), settings)
        closing = not self.alive or fields.get("connection") == "close"
        client.sendall(render(said, closing=closing))
        return closing
