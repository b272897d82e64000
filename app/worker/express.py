"""The express lane: a gunicorn worker that answers plain requests to /auth straight from their bytes.

Requests that the recognizer accepts pass through the same gate and get the same response. Every other request
falls back, with all its bytes, to gunicorn and Flask. See docs/decisions/0007 and 0014.
"""

from __future__ import annotations

from contextlib import suppress
from functools import cached_property
from typing import Any, cast

from flask import Flask
from gevent import socket
from gevent.server import StreamServer

from app.services import services_of
from app.worker.acceptor import Acceptor
from app.worker.connection import Connection
from app.worker.connections import READ_BYTES, Connections
from app.worker.draining import DrainingWorker, ListenerName
from app.worker.heads import MAX_HEAD_BYTES
from app.worker.lane import Lane
from app.worker.recognizer import is_incomplete, recognize

_READ_MORE_BYTES = 65_536


class ExpressWorker(DrainingWorker):
    """The draining worker with the express lane before it."""

    _lane: Lane | None = None
    _send_timeout_s = 0.0

    def load_wsgi(self) -> None:
        """Load the app; with TLS or an access log there is no lane, and gunicorn handles every request."""
        super().load_wsgi()
        if not self.cfg.is_ssl and not self.cfg.accesslog and self.cfg.keepalive:
            self._lane = Lane(services_of(cast(Flask, self.wsgi)))
            self._send_timeout_s = self.cfg.keepalive  # looked up once, because gunicorn computes settings

    def create_server(self, listener: Any) -> StreamServer:
        """Return a server for *listener*; with the lane its connections have no greenlets of their own."""
        if not self._lane:
            return super().create_server(listener)
        return Acceptor(listener, ListenerName(listener), self._connections)

    def count_connections(self) -> int:
        """Return the number of open connections."""
        return len(self._connections) if self._lane else super().count_connections()

    def shutdown_reads(self) -> None:
        """Shut down reading on all connections, those of the lane included."""
        super().shutdown_reads()
        if self._lane:
            self._connections.shutdown_reads()

    @cached_property
    def _connections(self) -> Connections:
        return Connections(self._handle, self.cfg.keepalive, self.worker_connections, self.heads)

    def _handle(self, connection: Connection, data: bytes) -> None:
        """Answer the requests in *data*, which was just read, or fall back to gunicorn."""
        try:
            if connection.unread or (len(data) == READ_BYTES and is_incomplete(data)):
                return self._read_more(connection, data)
            return self._answer(connection, data)
        except OSError as error:
            self.log.debug("Closing connection. %s", error)
            self._connections.close(connection)

    def _read_more(self, connection: Connection, data: bytes) -> None:
        """Read more of an incomplete head, and answer the request once the head is complete."""
        checked = len(connection.unread)
        connection.keep_unread(data)
        is_open = bool(data) and (len(data) < READ_BYTES or _read_available(connection))
        if is_open and not self.heads.is_full and is_incomplete(connection.unread, checked):
            return self._connections.wait_for_more(connection)
        proceed = self._answer if is_open else self._fall_back
        try:
            proceed(connection, self._connections.take_unread(connection))  # no local variable keeps the data
        finally:
            self.heads.end_response(connection)

    def _answer(self, connection: Connection, data: bytes) -> None:
        lane, closing = cast(Lane, self._lane), False
        while data and not closing:
            request = recognize(data, lane.names)
            if request is None:
                return self._wait_or_fall_back(connection, data)
            data = data[request.end :]
            self._count_request()
            rendered = lane.decide(request.fields, connection.peer)
            closing = request.is_last or not self.alive
            connection.send(lane.compose(request, rendered, closing=closing), self._send_timeout_s)
            if not (data or closing):
                return self._connections.wait_readable(connection)
        return self._connections.close(connection)

    def _wait_or_fall_back(self, connection: Connection, data: bytes) -> None:
        if is_incomplete(data):
            connection.keep_unread(data)
            self._connections.wait_for_more(connection)
        else:
            self._fall_back(connection, data)

    def _fall_back(self, connection: Connection, unread: bytes) -> None:
        """Let gunicorn serve the connection, starting with the *unread* bytes."""
        self._pool.spawn(self._serve_with_gunicorn, connection, connection.detach(), unread)

    def _serve_with_gunicorn(self, connection: Connection, client: socket.socket, unread: bytes) -> None:
        """Serve a request with gunicorn, and take the connection back if it is still open.

        Proxies keep connections for long; one request that falls back must not take the rest out of the lane.
        """
        is_open = False
        try:
            is_open = self.handle(connection.listener, client, connection.address, unread)
        finally:
            if is_open:
                connection.attach(client)
                self._connections.wait_readable(connection)
            else:
                self._connections.release()

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> Any:
        """Answer one request with gunicorn, and unless more was read return the connection to the lane."""
        super().handle_request(listener_name, req, sock, addr)
        if self._lane and self.alive and not (sock.has_unread or req.unreader.buf.getvalue()):
            sock.keep_open()
            raise StopIteration

    def _count_request(self) -> None:
        """Count one request, and stop the worker after gunicorn's max_requests."""
        self.nr += 1
        if self.nr >= self.max_requests and self.alive:
            self.log.info("Autorestarting worker after current request.")
            self.alive = False


def _read_available(connection: Connection) -> bool:
    """Read all that has arrived, so that few heads are incomplete; return False at the end of the stream."""
    data = b""
    with suppress(BlockingIOError):
        while data := connection.read(_READ_MORE_BYTES):
            connection.unread += data
            if len(data) < _READ_MORE_BYTES or len(connection.unread) >= MAX_HEAD_BYTES:
                break
        return bool(data)
    return True
