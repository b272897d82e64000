"""Connections that cost a greenlet only while they are being answered.

gevent's server gives each a socket with two watchers and a new greenlet, whose stack is mapped and unmapped
again. Under load Traefik opens a connection for nearly every request, so that is paid as often as an answer.
Here a silent connection is an entry in a table, and greenlets that have answered rest until they are needed.
"""

from __future__ import annotations

import _socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from socket import SHUT_RD, SOCK_STREAM
from typing import Any

import gevent
from gevent import get_hub, socket
from gevent.server import StreamServer
from greenlet import greenlet

from app.worker.heads import Heads

_READABLE = 1  # libev's EV_READ
_SWEEP_S = 0.5
_MAX_RESTING = 100


class Connection:
    """A socket that never waits; *listener* is the name it came in by, *address* who is at its other end.

    ``unread`` is what has arrived of a request that is not complete.
    """

    __slots__ = ("_connections", "address", "listener", "socket", "unread", "watcher")

    def __init__(self, connections: Connections, listener: Any, client: _socket.socket, address: Any) -> None:
        self._connections = connections
        self.listener = listener
        self.socket = client
        self.address = address
        self.unread: bytes | bytearray = b""
        self.watcher = get_hub().loop.io(client.fileno(), _READABLE)

    @property
    def peer(self) -> str:
        """Return the client's IP address, "" on a Unix socket."""
        return self.address[0] if isinstance(self.address, tuple) else ""

    def send(self, data: bytes, patience_s: float) -> None:
        """Send *data*, nearly always in one system call; TimeoutError if the client doesn't read it."""
        try:
            sent = self.socket.send(data)
        except BlockingIOError:
            sent = 0
        if sent < len(data):
            with socket.fromfd(self.socket.fileno(), self.socket.family, SOCK_STREAM) as patient:
                patient.settimeout(patience_s)
                patient.sendall(data[sent:])

    def detach(self) -> socket.socket:
        """Return the socket as one of gevent's, for somebody else to go on with."""
        self.watcher.close()
        return socket.socket(self.socket.family, SOCK_STREAM, 0, fileno=self.socket.detach())

    def attach(self, client: socket.socket) -> None:
        """Go on with what was detached."""
        self.socket = _socket.socket(client.family, SOCK_STREAM, 0, client.detach())
        self.socket.settimeout(0)
        self.watcher = get_hub().loop.io(self.socket.fileno(), _READABLE)

    def close(self) -> None:
        """End it."""
        self.watcher.close()
        self.socket.close()

    def give_up(self) -> None:
        """End it while it waits, to make room."""
        self._connections.drop(self)


class Connections:
    """All that are open, at most *most* of them.

    A greenlet calls *attend* with a connection that is new or has sent something; that has to end in
    ``wait``, ``wait_for_more``, ``close``, or in ``detach`` and then ``gone``, or ``attach`` and ``wait``.
    One that is silent for *keepalive_s* is closed, and so is one whose request takes as long to arrive.
    """

    def __init__(
        self, attend: Callable[[Connection], None], keepalive_s: float, most: int, heads: Heads
    ) -> None:
        self._attend = attend
        self._keepalive_s = keepalive_s
        self._most = most
        self._heads = heads
        self._count = 0
        self._silent: dict[Connection, float] = {}  # since when; in that order
        self._unfinished: dict[Connection, float] = {}  # likewise, since its request began
        self._resting: list[greenlet] = []
        self._acceptors: list[Acceptor] = []
        self._sweeper = get_hub().loop.timer(_SWEEP_S, _SWEEP_S)
        self._sweeper.start(self._sweep)

    def __len__(self) -> int:
        """Return how many are open, those among them that somebody else goes on with."""
        return self._count

    @property
    def is_full(self) -> bool:
        """Tell whether the next one has to wait to be accepted."""
        return self._count >= self._most

    def listen(self, listener: Any, name: Any) -> Acceptor:
        """Take in whoever connects to *listener*."""
        acceptor = Acceptor(listener, name, self)
        self._acceptors.append(acceptor)
        return acceptor

    def enter(self, connection: Connection) -> None:
        """Take in one that was accepted."""
        self._count += 1
        get_hub().loop.run_callback(self._wake, connection)

    def wait(self, connection: Connection) -> None:
        """Attend to it again once it has sent something."""
        self._silent[connection] = time.monotonic()
        connection.watcher.start(self._hear, connection)

    def wait_for_more(self, connection: Connection) -> None:
        """Attend to it again once more of its request has arrived."""
        self._unfinished.setdefault(connection, time.monotonic())
        connection.watcher.start(self._hear, connection)
        self._heads.note(connection, len(connection.unread))

    def complete(self, connection: Connection) -> bytes:
        """Return what has arrived of its request, of which it is not to wait for more, to be answered."""
        self._unfinished.pop(connection, None)
        self._heads.answer(connection, len(connection.unread))
        data, connection.unread = bytes(connection.unread), b""
        return data

    def drop(self, connection: Connection) -> None:
        """End one that waits."""
        self._silent.pop(connection, None)
        self._unfinished.pop(connection, None)
        self._heads.drop(connection)
        self.close(connection)

    def close(self, connection: Connection) -> None:
        """End it."""
        connection.close()
        self.gone()

    def gone(self) -> None:
        """Make room for another."""
        was_full = self.is_full
        self._count -= 1
        if was_full:
            for acceptor in self._acceptors:
                acceptor.go_on()

    def hang_up(self) -> None:
        """End what the silent ones send: what has arrived is still read and answered, then comes the end."""
        for connection in (*self._silent, *self._unfinished):
            with suppress(OSError):
                connection.socket.shutdown(SHUT_RD)

    def _hear(self, connection: Connection) -> None:
        connection.watcher.stop()
        self._silent.pop(connection, None)
        self._wake(connection)

    def _wake(self, connection: Connection) -> None:
        """Have a greenlet attend to it; called from the event loop, as nobody else gets control back."""
        hand = self._resting.pop() if self._resting else greenlet(self._work, get_hub())
        hand.switch(connection)

    def _work(self, connection: Connection) -> None:
        hub, this = get_hub(), gevent.getcurrent()
        while True:
            try:
                self._attend(connection)
            except Exception:  # noqa: BLE001 - nobody else would see it or end the connection
                hub.handle_error(connection, *sys.exc_info())
                self.close(connection)
            if len(self._resting) == _MAX_RESTING:
                return
            self._resting.append(this)
            connection = hub.switch()

    def _sweep(self) -> None:
        """Close those that have been silent, or have been sending a request, for too long."""
        until = time.monotonic() - self._keepalive_s
        for waiting in (self._silent, self._unfinished):
            while waiting and (oldest := next(iter(waiting.items())))[1] <= until:
                self.drop(oldest[0])


class Acceptor(StreamServer):
    """gevent's server, without a greenlet for each connection; *name* is what gunicorn asks a listener."""

    def __init__(self, listener: Any, name: Any, connections: Connections) -> None:
        self._name = name
        self._connections = connections
        super().__init__(listener, handle=self.do_handle, spawn=None)

    def full(self) -> bool:
        """Tell whether to stop accepting until ``go_on``."""
        return self._connections.is_full

    def go_on(self) -> None:
        """Accept again, unless closed."""
        if self.started:
            self.start_accepting()

    def do_read(self) -> Any:
        """Accept a connection; return its socket and its address, None if nobody has connected."""
        listener: Any = self.socket
        try:
            descriptor, address = listener._accept()  # noqa: SLF001 - accept() would make a socket of Python's
        except BlockingIOError:
            return None
        client = _socket.socket(listener.family, SOCK_STREAM, 0, descriptor)
        client.settimeout(0)
        return client, address

    def do_handle(self, client: Any, address: Any) -> None:
        """Take it in."""
        self._connections.enter(Connection(self._connections, self._name, client, address))
