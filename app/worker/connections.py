"""Connections that need a greenlet only while a request is answered (docs/decisions/0014).

gevent's own server creates a socket with two watchers and a greenlet for each connection, whose stack is
mapped and unmapped again. Under load Traefik opens a connection for nearly every request, so it would do this
for nearly every response. Here an idle connection is an entry in a table with one watcher, and greenlets are
reused.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import gevent
from gevent import get_hub
from greenlet import greenlet

from app.worker.connection import Connection
from app.worker.heads import Heads, shutdown_read

READ_BYTES = 8192
_SWEEP_INTERVAL_S = 0.5
_MAX_IDLE_GREENLETS = 100


class Connections:
    """The open connections of a worker, at most *max_connections*.

    A greenlet calls *handle* with a connection and what was read from it, nothing at the end of an incomplete
    request. The callback has to end with ``wait_readable``, ``wait_for_more`` or ``close``; or with
    ``detach``, and later ``release``, or ``attach`` and ``wait_readable``. A connection that is idle for
    *keepalive_s* is closed, and so is one whose request head takes that long to arrive.
    """

    def __init__(
        self,
        handle: Callable[[Connection, bytes], None],
        keepalive_s: float,
        max_connections: int,
        heads: Heads,
    ) -> None:
        self._handle = handle
        self._keepalive_s = keepalive_s
        self._max_connections = max_connections
        self._heads = heads
        self._count = 0
        self._idle: dict[Connection, float] = {}  # the time each became idle, in that order
        self._incomplete: dict[Connection, float] = {}  # the time each request began, in that order
        self._idle_greenlets: list[greenlet] = []
        self._resume_callbacks: list[Callable[[], None]] = []
        self._sweeper = get_hub().loop.timer(_SWEEP_INTERVAL_S, _SWEEP_INTERVAL_S)
        self._sweeper.start(self._sweep)

    def __len__(self) -> int:
        """Return the number of open connections, detached ones included."""
        return self._count

    @property
    def is_full(self) -> bool:
        """Tell whether no further connection may be accepted."""
        return self._count >= self._max_connections

    def when_not_full(self, resume: Callable[[], None]) -> None:
        """Call *resume* each time there is room for a connection again."""
        self._resume_callbacks.append(resume)

    def add(self, connection: Connection) -> None:
        """Add an accepted connection."""
        self._count += 1
        get_hub().loop.run_callback(self._read, connection)

    def wait_readable(self, connection: Connection) -> None:
        """Handle *connection* again when it is readable."""
        self._idle[connection] = time.monotonic()
        connection.watch(self._on_readable)

    def wait_for_more(self, connection: Connection) -> None:
        """Handle *connection* again when more of its request has arrived."""
        self._incomplete.setdefault(connection, time.monotonic())
        connection.watch(self._on_readable)
        self._heads.hold(connection, len(connection.unread))

    def take_unread(self, connection: Connection) -> bytes:
        """Return and drop the bytes that have arrived of a request, which is answered now."""
        self._incomplete.pop(connection, None)
        self._heads.begin_response(connection, len(connection.unread))
        data, connection.unread = bytes(connection.unread), b""
        return data

    def discard(self, connection: Connection) -> None:
        """Close a connection that waits."""
        self._idle.pop(connection, None)
        self._incomplete.pop(connection, None)
        self._heads.release(connection)
        self.close(connection)

    def close(self, connection: Connection) -> None:
        """Close a connection that does not wait."""
        connection.close()
        self.release()

    def release(self) -> None:
        """Count one connection fewer; if that makes room, resume accepting."""
        was_full = self.is_full
        self._count -= 1
        if was_full:
            for resume in self._resume_callbacks:
                resume()

    def shutdown_reads(self) -> None:
        """Shut down reading on all waiting connections; requests that have arrived are still answered."""
        for connection in (*self._idle, *self._incomplete):
            shutdown_read(connection.descriptor)

    def _on_readable(self, connection: Connection) -> None:
        """Read from a connection that waits; one that is being answered is watched again after that."""
        if self._idle.pop(connection, None) is None and connection not in self._incomplete:
            connection.pause()
        else:
            self._read(connection)

    def _read(self, connection: Connection) -> None:
        """Let a greenlet handle what can be read; the end of an idle connection needs none.

        Only the event loop may call this: the greenlet switches back to the hub and never to its caller.
        """
        try:
            data = connection.read(READ_BYTES)
        except BlockingIOError:  # a new connection without a request
            return self.wait_readable(connection)
        except OSError:  # reset by the client
            data = b""
        if not (data or connection.unread):
            return self.close(connection)
        worker = self._idle_greenlets.pop() if self._idle_greenlets else greenlet(self._work, get_hub())
        worker.switch(connection, data)
        return None

    def _work(self, connection: Connection, data: bytes) -> None:
        hub, this = get_hub(), gevent.getcurrent()
        while True:
            try:
                self._handle(connection, data)
            except Exception:  # noqa: BLE001 - this greenlet has no parent that reports it or closes the connection
                hub.handle_error(connection, *sys.exc_info())
                self.close(connection)
            if len(self._idle_greenlets) == _MAX_IDLE_GREENLETS:
                return
            self._idle_greenlets.append(this)
            del data  # a secret is in it
            connection, data = hub.switch()

    def _sweep(self) -> None:
        """Close the connections that have been idle, or whose request has been incomplete, for too long."""
        until = time.monotonic() - self._keepalive_s
        for waiting in (self._idle, self._incomplete):
            while waiting and (oldest := next(iter(waiting.items())))[1] <= until:
                self.discard(oldest[0])
