"""The express lane: a gunicorn worker that answers the plain GET /auth straight from its bytes.

It recognizes a subset of HTTP, it is no second parser. A head that fits the grammar below as a whole is put
to the same gate and gets the same answer; anything else, any doubt, goes with all its bytes to gunicorn and
Flask.
"""

from __future__ import annotations

import re
import time
from contextlib import suppress
from functools import cached_property, lru_cache
from http import HTTPStatus
from typing import Any, NamedTuple, cast

from flask import Flask
from gevent import socket
from gevent.server import StreamServer
from gunicorn import SERVER
from gunicorn.util import http_date

from app.core.cache import BoundedCache
from app.core.verdicts import Decision, Verdict
from app.services import Services, of
from app.web.answers import render
from app.web.auth import respond
from app.web.forwarded import READ_HEADERS
from app.worker.connections import Connection, Connections
from app.worker.draining import DrainingWorker, Listener
from app.worker.heads import MAX_FIELDS, MAX_HEAD_BYTES

_READ_BYTES = 8192
_READ_ON_BYTES = 65_536

_BEGINNING = re.compile(rb"(GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS) /auth")
_LINE = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]++:[\t -~\x80-\xff]*+\r\n"  # RFC 9110 section 5, obs-text included
_FIRST_LINE = re.compile(rb"%b(?:[/?][!-~]*+)? HTTP/1\.([01])\r\n" % _BEGINNING.pattern)
_HEAD = re.compile(rb"%b((?:%b){1,%d}+)\r\n" % (_FIRST_LINE.pattern, _LINE, MAX_FIELDS))
_END = re.compile(rb"\r\n\r\n|(?<!\r)\n")  # of a head, or of hope for it
# What the answer depends on, and what says how the request ends; no other field matters, here or in Flask.
_FRAMING = ("Host", "Connection", "Content-Length", "Content-Type")
_NAMES = {name.lower().encode(): name for name in (*READ_HEADERS, *_FRAMING)}
_DOUBTFUL = {b"transfer-encoding", b"expect"}
# By minor version: how the status line begins, and what it means to say nothing of the connection.
_VERSIONS, _UNSAID = (b"HTTP/1.0", b"HTTP/1.1"), ("close", "keep-alive")
_KEEP_ALIVE, _CLOSE = b"\r\nConnection: keep-alive\r\n", b"\r\nConnection: close\r\n"
_MAX_RENDERED_BYTES = 4 * 1024 * 1024


_PLAIN = {verdict: Decision(verdict) for verdict in Verdict}

Rendered = tuple[bytes, bytes, bytes]


class Request(NamedTuple):
    """A head that was recognized."""

    fields: dict[str, str]  # those that matter
    version: int  # the minor one of HTTP/1
    is_head: bool  # whose answer has no body
    is_last: bool  # on its connection
    end: int  # where the next request begins


def recognize(data: bytes) -> Request | None:
    """Return the request whose head *data* begins with; None if in any doubt."""
    head = _HEAD.match(data, 0, MAX_HEAD_BYTES)
    if not head:
        return None
    fields, version = _read(head[3]), int(head[2])
    if fields is None:
        return None
    fate = fields.get("Connection", _UNSAID[version]).lower()
    if fate not in _UNSAID or fields.get("Content-Length", "0") != "0":
        return None
    return Request(fields, version, head[1] == b"HEAD", fate == "close", head.end())


def _read(lines: bytes) -> dict[str, str] | None:
    """Return the fields that matter; None if one of them came twice, or one that is doubtful."""
    fields: dict[str, str] = {}
    for line in lines.split(b"\r\n"):
        sent, _, value = line.partition(b":")
        sent = sent.lower()
        if name := _NAMES.get(sent):
            if name in fields:
                return None
            fields[name] = value.strip(b" \t").decode("latin-1")
        elif sent in _DOUBTFUL:
            return None
    return fields


def is_unfinished(data: bytes | bytearray, known: int = 0) -> bool:
    """Tell whether *data* may become a head that ``recognize`` knows, as its first *known* bytes might.

    gunicorn refuses a bad line when it has arrived, so that is not waited with; and as each packet is asked
    about, nothing is looked through twice.
    """
    if len(data) >= MAX_HEAD_BYTES or not _BEGINNING.match(data) or _END.search(data, max(0, known - 3)):
        return False
    return data.find(b"\n") < known or bool(_FIRST_LINE.match(data))


class Lane:
    """Answers what was recognized, as Flask and gunicorn would."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._settings = services.settings
        self._note_express = services.tally.note_express
        self._around_date = BoundedCache(self._render_around_date, _size, _MAX_RENDERED_BYTES)

    def decide(self, fields: dict[str, str], peer: str) -> Rendered:
        """Ask the gate; return the answer but for the date and the connection's fate."""
        self._note_express()
        return respond(self._services, fields, peer, self._rendered)

    def compose(self, request: Request, rendered: Rendered, *, closing: bool) -> bytes:
        """Return the whole answer to *request* as gunicorn would send it."""
        before, after, body = rendered
        fate = _CLOSE if closing else _KEEP_ALIVE
        body = b"" if request.is_head else body
        return b"".join((_VERSIONS[request.version], before, _date(int(time.time())), fate, after, body))

    def _rendered(self, decision: Decision) -> Rendered:
        """Return what is kept if it may be: of refusals one a verdict, and none that tells a time to wait."""
        if decision.verdict is Verdict.ALLOWED:
            return self._around_date(decision)
        if decision.refusal:
            return self._render_around_date(decision)
        return self._around_date(_PLAIN[decision.verdict])

    def _render_around_date(self, decision: Decision) -> Rendered:
        """Return what stands between version and date, the fields behind Connection, and the body."""
        said = render(decision, self._settings)
        status = f"{said.status} {HTTPStatus(said.status).phrase.upper()}"
        fields = "".join([f"{name}: {value}\r\n" for name, value in said.headers])
        return (
            f" {status}\r\nServer: {SERVER}\r\nDate: ".encode(),
            f"{fields}Content-Length: {len(said.body)}\r\n\r\n".encode("latin-1"),
            said.body.encode(),
        )


def _size(decision: Decision, rendered: Rendered) -> int:
    return 600 + sum(map(len, rendered)) + sum(map(len, decision.identity or ()))


def _read_arrived(connection: Connection) -> bool:
    """Read all of a head that has arrived, so that few are begun at a time; False if the client is done."""
    more = b""
    with suppress(BlockingIOError):
        while more := connection.socket.recv(_READ_ON_BYTES):
            connection.unread += more
            if len(more) < _READ_ON_BYTES or len(connection.unread) >= MAX_HEAD_BYTES:
                break
        return bool(more)
    return True


@lru_cache(maxsize=1)
def _date(now_s: int) -> bytes:
    return http_date(now_s).encode()


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
        return Connections(self._attend, self.cfg.keepalive, self.worker_connections, self.heads)

    def _attend(self, connection: Connection) -> None:
        """Answer what the lane takes, and leave to gunicorn what is doubtful."""
        try:
            if connection.unread:
                return self._read_on(connection)
            data = connection.socket.recv(_READ_BYTES)
            if len(data) == _READ_BYTES and is_unfinished(data):
                connection.unread = bytearray(data)
                return self._read_on(connection)
            return self._answer(connection, data)
        except BlockingIOError:  # it has not sent anything yet
            self._connections.wait(connection)
        except OSError as error:
            self.log.debug("Closing connection. %s", error)
            self._connections.close(connection)

    def _read_on(self, connection: Connection) -> None:
        """Read more of a head that began before."""
        known = len(connection.unread)
        more = _read_arrived(connection)
        if more and not self.heads.is_full and is_unfinished(connection.unread, known):
            return self._connections.wait_for_more(connection)
        go_on = self._answer if more else self._hand_over
        try:
            go_on(connection, self._connections.complete(connection))  # which nothing here is to keep
        finally:
            self.heads.answered(connection)

    def _answer(self, connection: Connection, data: bytes) -> None:
        lane, closing = cast(Lane, self._lane), False
        while data and not closing:
            request = recognize(data)
            if request is None:
                return self._doubt(connection, data)
            data = data[request.end :]
            self._count()
            rendered = lane.decide(request.fields, connection.peer)
            closing = request.is_last or not self.alive
            connection.send(lane.compose(request, rendered, closing=closing), self.cfg.keepalive)
            if not (data or closing):
                return self._connections.wait(connection)
        return self._connections.close(connection)

    def _doubt(self, connection: Connection, data: bytes) -> None:
        if is_unfinished(data):
            connection.unread = bytearray(data)
            self._connections.wait_for_more(connection)
        else:
            self._hand_over(connection, data)

    def _hand_over(self, connection: Connection, unread: bytes) -> None:
        """Let gunicorn go on with all that was not answered."""
        self._pool.spawn(self._serve_doubtful, connection, connection.detach(), unread)

    def _serve_doubtful(self, connection: Connection, client: socket.socket, unread: bytes) -> None:
        """Serve it as gunicorn does until the doubt is over; proxies keep their connections for long."""
        is_open = False
        try:
            is_open = self.handle(connection.listener, client, connection.address, unread)
        finally:
            if is_open:
                connection.attach(client)
                self._connections.wait(connection)
            else:
                self._connections.gone()

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> Any:
        """Answer one request as gunicorn does; then its connection is the lane's again, if all was read."""
        super().handle_request(listener_name, req, sock, addr)
        if self._lane and self.alive and not (sock.has_unread or req.unreader.buf.getvalue()):
            sock.release()
            raise StopIteration

    def _count(self) -> None:
        """Count one request, and ask to be replaced at the last (gunicorn's max_requests)."""
        self.nr += 1
        if self.nr >= self.max_requests and self.alive:
            self.log.info("Autorestarting worker after current request.")
            self.alive = False
