"""The express lane: a gunicorn worker that answers the plain GET /auth straight from its bytes.

It recognizes a subset of HTTP, it is no second parser. A head that fits the grammar below as a whole is put
to the same gate and gets the same answer; anything else, any doubt, goes with all its bytes to gunicorn and
Flask.
"""

from __future__ import annotations

import re
import time
from functools import cached_property, lru_cache
from http import HTTPStatus
from typing import Any, cast

from flask import Flask
from gevent import socket
from gevent.server import StreamServer
from gunicorn import SERVER
from gunicorn.util import http_date

from app.core.gate import Decision
from app.services import Services, of
from app.web.auth import answer, judge
from app.web.connections import Connection, Connections
from app.web.draining import DrainingWorker, Listener

_MAX_HEAD_BYTES = 4096
_READ_BYTES = 8192

_HEAD = re.compile(
    rb"GET /auth(?:\?[A-Za-z0-9._~!$&'()*+,;=:@/?%-]*)? HTTP/1\.1\r\n"
    rb"((?:[A-Za-z-]+: (?! )[ -~]*+(?<! )\r\n){1,30})\r\n"
)
_FIELD_NAMES = {
    spelling: name
    for name in (
        *("Host", "User-Agent", "Accept", "Accept-Encoding", "Accept-Language", "Connection", "Cookie"),
        *(
            "Authorization",
            "Proxy-Authorization",
            "X-Api-Key",
            "X-Real-Ip",
            "X-Forwarded-For",
            "X-Forwarded-Host",
        ),
        *(
            "X-Forwarded-Method",
            "X-Forwarded-Port",
            "X-Forwarded-Proto",
            "X-Forwarded-Server",
            "X-Forwarded-Uri",
        ),
    )
    for spelling in (name, name.lower())
}
_CONNECTIONS = {None, "close", "keep-alive"}
_KEEP_ALIVE, _CLOSE = b"\r\nConnection: keep-alive\r\n", b"\r\nConnection: close\r\n"
_HOST = re.compile(r"[A-Za-z0-9._-]+(?::[0-9]{1,5})?", re.ASCII)


def recognize(data: bytes) -> tuple[dict[str, str], int] | None:
    """Return the fields of the head that *data* begins with, and where it ends; None if in any doubt."""
    head = _HEAD.match(data, 0, _MAX_HEAD_BYTES)
    if not head:
        return None
    *lines, _ = head[1].decode().split("\r\n")
    fields = {}
    for line in lines:
        name, _, value = line.partition(": ")
        fields[_FIELD_NAMES.get(name, "")] = value
    if "" in fields or len(fields) < len(lines):  # a name that is not known, or one twice
        return None
    if not _HOST.fullmatch(fields.get("Host", "")) or fields.get("Connection") not in _CONNECTIONS:
        return None
    return fields, head.end()


class Lane:
    """Answers what was recognized, as Flask and gunicorn would."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._settings = services.settings
        self._around_date = lru_cache(maxsize=4096)(self._render_around_date)

    def decide(self, fields: dict[str, str], peer: str) -> tuple[bytes, bytes]:
        """Ask the gate; return the answer but for the date and the connection's fate."""
        return judge(self._services, fields, peer, self._around_date)

    def render(self, around_date: tuple[bytes, bytes], *, closing: bool) -> bytes:
        """Return the whole answer as gunicorn would send it."""
        before, after = around_date
        return b"".join((before, _date(int(time.time())), _CLOSE if closing else _KEEP_ALIVE, after))

    def _render_around_date(self, decision: Decision) -> tuple[bytes, bytes]:
        """Return what precedes the date and what follows the name of the connection's fate."""
        said = answer(decision, self._settings)
        status = f"{said.status} {HTTPStatus(said.status).phrase.upper()}"
        fields = "".join([f"{name}: {value}\r\n" for name, value in said.headers])
        return (
            f"HTTP/1.1 {status}\r\nServer: {SERVER}\r\nDate: ".encode(),
            f"{fields}Content-Length: {len(said.body)}\r\n\r\n{said.body}".encode("latin-1"),
        )


@lru_cache(maxsize=1)
def _date(now_s: int) -> bytes:
    return http_date(now_s).encode()


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

    _lane: Lane | None = None

    def load_wsgi(self) -> None:
        """Load the app; with TLS or an access log every request takes gunicorn's way."""
        super().load_wsgi()
        if not self.cfg.is_ssl and not self.cfg.accesslog and self.cfg.keepalive:
            self._lane = Lane(of(cast(Flask, self.wsgi)))

    def listen(self, listener: Any) -> StreamServer:
        """Serve *listener*, its connections at first without a greenlet each."""
        if not self._lane:
            return super().listen(listener)
        return self._connections.listen(listener, Listener(listener))

    def count_open(self) -> int:
        """Return how many connections are open."""
        return len(self._connections) if self._lane else super().count_open()

    def hang_up(self) -> None:
        """End what clients send, also those that gunicorn does not know of."""
        super().hang_up()
        if self._lane:
            self._connections.hang_up()

    @cached_property
    def _connections(self) -> Connections:
        return Connections(self._attend, self.cfg.keepalive, self.worker_connections)

    def _attend(self, connection: Connection) -> None:
        """Answer what the lane takes, and from the first doubt on leave the connection to gunicorn."""
        try:
            self._answer(connection, cast(Lane, self._lane))
        except BlockingIOError:  # it has not sent anything yet
            self._connections.wait(connection)
        except OSError as error:
            self.log.debug("Closing connection. %s", error)
            self._connections.close(connection)

    def _answer(self, connection: Connection, lane: Lane) -> None:
        data, closing = connection.socket.recv(_READ_BYTES), False
        while data and not closing:
            recognized = recognize(data)
            if recognized is None:
                return self._hand_over(connection, data)
            fields, end = recognized
            data = data[end:]
            self._count()
            around_date = lane.decide(fields, connection.peer)
            closing = not self.alive or fields.get("Connection") == "close"
            connection.send(lane.render(around_date, closing=closing), self.cfg.keepalive)
            if not (data or closing):
                return self._connections.wait(connection)
        return self._connections.close(connection)

    def _hand_over(self, connection: Connection, unread: bytes) -> None:
        """Let gunicorn go on with all that was not answered."""
        client = Replay(connection.detach(), unread)
        greenlet = self._pool.spawn(self.handle, connection.listener, client, connection.address)
        greenlet.link(lambda _: self._connections.gone())

    def _count(self) -> None:
        """Count one request, and ask to be replaced at the last (gunicorn's max_requests)."""
        self.nr += 1
        if self.nr >= self.max_requests and self.alive:
            self.log.info("Autorestarting worker after current request.")
            self.alive = False
