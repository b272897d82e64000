"""A gunicorn worker that leaves quickly and loses nothing, and waits for nobody's body."""

from __future__ import annotations

import time
from contextlib import suppress
from functools import cached_property, partial
from typing import Any, cast

import gevent
from flask import Flask
from gevent import socket
from gevent.pool import Pool
from gevent.server import StreamServer
from gunicorn.http.errors import ParseException
from gunicorn.sock import ssl_context
from gunicorn.workers.ggevent import GeventWorker

from app import make_concurrent
from app.worker.heads import Heads, HeadSocket, end_reading
from app.worker.parser import bound_parser
from app.worker.rejections import fail, reject

# How soon a stop is noticed; gunicorn's own worker looks once a second.
_LOOK_S = 0.1
# How often it is looked, while draining, whether all have gone.
_STEP_S = 0.02
# Long enough for a segment that is sent again (after 0.2 s on Linux), and for a busy client to hear "close".
_LAST_CALL_S = 0.3
# An answer is lost if the client still sends when its socket is closed: the kernel resets the connection.
_LINGER_S = 1.0
_READ_BYTES = 65_536


class Listener:
    """What gunicorn asks of a listening socket, for each connection: its name, also when it is closed."""

    def __init__(self, listener: Any) -> None:
        self._name = listener.getsockname()

    def getsockname(self) -> Any:
        """Return the name."""
        return self._name


class DrainingWorker(GeventWorker):
    """gunicorn's gevent worker with another end: see docs/decisions/0008-draining.md."""

    def load_wsgi(self) -> None:
        """Load the app, and let its requests share a connection: here, each runs in a greenlet."""
        super().load_wsgi()
        make_concurrent(cast(Flask, self.wsgi))

    def run(self) -> None:
        """Serve until told to stop, or until max_requests; then let the connections go."""
        bound_parser()
        self._pool = Pool(self.worker_connections)
        self._listening: dict[Any, Any] = {}
        self._answering: set[Any] = set()
        servers = [self._serve(listener) for listener in self.sockets]
        while self.alive:
            self.notify()
            gevent.sleep(_LOOK_S)
        for server in servers:
            _take_queued(server)
            server.close()
        self._drain()

    def _serve(self, listener: Any) -> StreamServer:
        listener.setblocking(1)
        server = self.listen(listener)
        if self.cfg.workers > 1:
            server.max_accept = 1
        server.start()
        return server

    def listen(self, listener: Any) -> StreamServer:
        """Serve *listener*, each connection in its own greenlet."""
        tls: dict[str, Any] = {}
        if self.cfg.is_ssl:
            tls = {"ssl_context": ssl_context(self.cfg), "do_handshake_on_connect": False}
        handle = partial(self.handle, Listener(listener))
        return StreamServer(listener, handle=handle, spawn=self._pool, **tls)

    def _drain(self) -> None:
        """Let who asks hear that it was the last time, then hang up, then wait for answers under way."""
        for req in self._answering:
            req.force_close()
        if not self._is_over_within(_LAST_CALL_S):
            self.hang_up()
            if not self._is_over_within(self.cfg.graceful_timeout - _LAST_CALL_S):
                self.log.warning("Worker graceful timeout (pid:%s)", self.pid)
                self._pool.kill(timeout=1)

    def _is_over_within(self, wait_s: float) -> bool:
        """Wait until no connection is left, at most *wait_s*."""
        end = time.monotonic() + wait_s
        while self.count_open() and time.monotonic() < end:
            self.notify()
            gevent.sleep(_STEP_S)
        return not self.count_open()

    def count_open(self) -> int:
        """Return how many connections are open."""
        return len(self._pool)

    def hang_up(self) -> None:
        """End what clients send."""
        for client in self._listening.values():
            end_reading(client)

    @cached_property
    def heads(self) -> Heads:
        """What all connections hold of unfinished heads."""
        return Heads()

    def handle(self, listener: Any, client: Any, addr: Any, read: bytes = b"") -> Any:
        """Serve one connection, of which *read* was read; tell whether it is open still.

        A drain hangs up on it.
        """
        this = gevent.getcurrent()
        self._listening[this] = client
        # What a client names its end of a Unix socket is no address, though it may look like a proxy's.
        peer = addr if isinstance(addr, tuple) else ""
        try:
            bounded: Any = HeadSocket(client, self.heads, read)
            if self._has_shaken_hands(client):
                super().handle(listener, bounded, peer)
        finally:
            self._listening.pop(this, None)
        return bounded.is_released

    def _has_shaken_hands(self, client: Any) -> bool:
        """With TLS, shake hands first, which gevent's server would let a client take for ever to do."""
        if not self.cfg.is_ssl:
            return True
        with suppress(OSError, gevent.Timeout), gevent.Timeout(self.cfg.keepalive or self.cfg.timeout):
            client.do_handshake()
            return True
        return False

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> Any:
        """Answer one request; one with a body is its connection's last, so that its rest needs no reader."""
        sock.end_head()
        has_body = _has_body(req)
        if has_body:
            self._listening.pop(gevent.getcurrent(), None)
            req.force_close()
        self._answering.add(req)
        try:
            super().handle_request(listener_name, req, sock, addr)
            _forget(req)
            sock.begin_head(req.unreader.buf.getvalue())
        except StopIteration as end:  # answered, for the last time
            if has_body:
                _forget(req)
                _linger(sock, end)
            raise
        finally:
            self._answering.discard(req)

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Answer for what can't be read or answered; gunicorn would log parts of the request."""
        if req is not None:
            fail(client, exc)
        elif isinstance(exc, ParseException):
            reject(client, addr, exc)
            _linger(client, exc)
        else:
            super().handle_error(req, client, addr, exc)


def _take_queued(server: StreamServer) -> None:
    """Accept who has connected already: the kernel resets what is queued when the last listener closes."""
    while not server.full() and (accepted := server.do_read()):
        server.do_handle(*accepted)


def _has_body(req: Any) -> bool:
    fields = dict(req.headers)
    return "TRANSFER-ENCODING" in fields or fields.get("CONTENT-LENGTH", "0") != "0"


def _forget(req: Any) -> None:
    """Let go what was answered: gunicorn's parser keeps a request until the next one is complete."""
    req.headers, req.uri, req.path, req.query, req.fragment = [], "", "", "", ""
    req.version = (1, 1)  # without a Connection field, that is what says that another one may follow


def _linger(sock: Any, why: BaseException) -> None:
    """Drop what is still sent, for a moment, in turn with all other connections; keep nothing meanwhile."""
    sock.discard()
    why.__traceback__ = why.__context__ = None  # whose frames hold what was read
    why.args, why.__dict__ = (), {}
    with suppress(OSError, gevent.Timeout), gevent.Timeout(_LINGER_S):
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(_READ_BYTES):
            gevent.sleep(0)
