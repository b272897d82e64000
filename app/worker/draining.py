"""A gunicorn worker that stops quickly without losing requests, and never waits for an unread body.

See docs/decisions/0008.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property, partial
from typing import Any, cast

import gevent
from flask import Flask
from gevent.pool import Pool
from gevent.server import StreamServer
from gunicorn.http.errors import ParseException
from gunicorn.sock import ssl_context
from gunicorn.workers.ggevent import GeventWorker

from app import make_concurrent
from app.services import services_of
from app.tally import Gauge
from app.worker.applying import apply_in_turn
from app.worker.heads import Heads, HeadSocket, shutdown_read
from app.worker.parser import install_bounded_parser
from app.worker.rejections import close_lingering, fail, reject

# How long a worker that stops accepts connections, at most, because its successor does not yet.
_HANDOVER_S = 2.0
# The delay until a stop is noticed; gunicorn's own worker checks once a second.
_ALIVE_CHECK_S = 0.1
# How often a worker that stops checks whether it can go on.
_DRAIN_CHECK_S = 0.02
# Enough for a TCP retransmission (0.2 s on Linux), and for a busy client to receive "Connection: close".
_CLOSE_NOTICE_S = 0.3


class ListenerName:
    """The part of a listening socket that gunicorn needs for each connection; it outlives the socket."""

    def __init__(self, listener: Any) -> None:
        self._name = listener.getsockname()

    def getsockname(self) -> Any:
        """Return the name of the socket."""
        return self._name


class DrainingWorker(GeventWorker):
    """gunicorn's gevent worker with its own shutdown procedure."""

    _is_quitting = False

    def load_wsgi(self) -> None:
        """Load the app, and let its requests share a connection: here, each runs in a greenlet."""
        super().load_wsgi()
        make_concurrent(cast(Flask, self.wsgi))

    def run(self) -> None:
        """Serve until a stop signal or max_requests; then drain the connections."""
        install_bounded_parser()
        gc.freeze()  # with what the master has loaded: a collection of all objects would stop all responses
        self._pool = Pool(self.worker_connections)
        self._reading: dict[Any, Any] = {}
        self._requests: set[Any] = set()
        servers = [self._start_server(listener) for listener in self.sockets]
        services = services_of(cast(Flask, self.wsgi))
        services.tally.note_started()
        gevent.spawn(apply_in_turn, services, lambda: self.alive)
        while self.alive:
            self.notify()
            self._publish_gauges()
            gevent.sleep(_ALIVE_CHECK_S)
        deadline = time.monotonic() + self.cfg.graceful_timeout
        self._wait(_HANDOVER_S, lambda: not services.tally.is_any_starting)
        for server in servers:
            _accept_queued(server)
            server.close()
        self._drain(deadline)

    def handle_quit(self, *_: object) -> None:
        """Stop without a drain; gunicorn raises SystemExit in a greenlet, which may interrupt the exit."""
        self._is_quitting = True
        self.alive = False

    def _publish_gauges(self) -> None:
        """Let every worker report what this one has; sampled here, it costs no request anything."""
        services = services_of(cast(Flask, self.wsgi))
        clients = {Gauge.CLIENT_CONNECTIONS: self.count_connections()}
        services.tally.publish({**clients, **services.redis_gauges()})

    def _start_server(self, listener: Any) -> StreamServer:
        listener.setblocking(1)
        server = self.create_server(listener)
        if self.cfg.workers > 1:
            server.max_accept = 1
        server.start()
        return server

    def create_server(self, listener: Any) -> StreamServer:
        """Return a server for *listener* that handles each connection in its own greenlet."""
        tls: dict[str, Any] = {}
        if self.cfg.is_ssl:
            tls = {"ssl_context": ssl_context(self.cfg), "do_handshake_on_connect": False}
        handle = partial(self.handle, ListenerName(listener))
        return StreamServer(listener, handle=handle, spawn=self._pool, **tls)

    def _drain(self, deadline: float) -> None:
        """Send "Connection: close" for a moment, then shut down reads, then await responses in progress."""
        for req in self._requests:
            req.force_close()
        if not self._wait(_CLOSE_NOTICE_S, self._has_none):
            self.shutdown_reads()
            if not self._wait(deadline - time.monotonic(), self._has_none):
                self.log.warning("Worker graceful timeout (pid:%s)", self.pid)
                self._pool.kill(timeout=1)

    def _wait(self, timeout_s: float, is_over: Callable[[], bool]) -> bool:
        """Wait at most *timeout_s* until *is_over* or a stop is quick; return whether so."""
        end = time.monotonic() + timeout_s
        while not (self._is_quitting or is_over()) and time.monotonic() < end:
            self.notify()
            self._publish_gauges()
            gevent.sleep(_DRAIN_CHECK_S)
        return self._is_quitting or is_over()

    def _has_none(self) -> bool:
        return not self.count_connections()

    def count_connections(self) -> int:
        """Return the number of open connections."""
        return len(self._pool)

    def shutdown_reads(self) -> None:
        """Shut down reading on all connections: requests that have arrived are answered, and no others."""
        for client in self._reading.values():
            shutdown_read(client.fileno())

    @cached_property
    def heads(self) -> Heads:
        """The bytes that all connections hold of request heads."""
        return Heads()

    def handle(self, listener: Any, client: Any, addr: Any, read: bytes = b"") -> Any:
        """Serve one connection, of which *read* has been read already; return whether it is still open.

        It is registered so that a drain can shut down reads on it.
        """
        self._reading[this := gevent.getcurrent()] = client
        # The name of a client's Unix socket is not an address, even if it looks like a proxy's.
        peer = addr if isinstance(addr, tuple) else ""
        try:
            bounded: Any = HeadSocket(client, self.heads, read)
            if self._completes_handshake(client):
                super().handle(listener, bounded, peer)
        finally:
            self._reading.pop(this, None)
        return bounded.is_kept_open

    def _completes_handshake(self, client: Any) -> bool:
        """Do the TLS handshake, if any, within a time-out; gevent's server has none."""
        if not self.cfg.is_ssl:
            return True
        with suppress(OSError, gevent.Timeout), gevent.Timeout(self.cfg.keepalive or self.cfg.timeout):
            client.do_handshake()
            return True
        return False

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> Any:
        """Answer one request; one with a body, which may stay unread, is the last on its connection."""
        sock.end_head()
        has_body = _has_body(req)
        if has_body:
            self._reading.pop(gevent.getcurrent(), None)
            req.force_close()
        self._requests.add(req)
        try:
            super().handle_request(listener_name, req, sock, addr)
            _clear(req)
            sock.begin_head(req.unreader.buf.getvalue())
        except StopIteration as end:  # the response was the last on its connection
            if has_body:
                _clear(req)
                close_lingering(sock, end)
            raise
        finally:
            self._requests.discard(req)

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Respond to a request that can't be parsed or answered; gunicorn would log parts of it."""
        if req is not None:
            fail(client, exc)
        elif isinstance(exc, ParseException):
            reject(client, addr, exc)
            close_lingering(client, exc)
        else:
            super().handle_error(req, client, addr, exc)


def _accept_queued(server: StreamServer) -> None:
    """Accept the connections in the backlog: the kernel resets them when the last listener closes."""
    while not server.full() and (accepted := server.do_read()):
        server.do_handle(*accepted)


def _has_body(req: Any) -> bool:
    fields = dict(req.headers)
    return "TRANSFER-ENCODING" in fields or fields.get("CONTENT-LENGTH", "0") != "0"


def _clear(req: Any) -> None:
    """Free the memory of an answered request; gunicorn's parser keeps it until the next is complete."""
    req.headers, req.uri, req.path, req.query, req.fragment = [], "", "", "", ""
    req.version = (1, 1)  # without a Connection field, this makes gunicorn keep the connection
