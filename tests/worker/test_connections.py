"""Connections without a greenlet of their own, over real sockets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gevent
import pytest
from gevent import socket
from gevent.event import Event

from app.worker.acceptor import Acceptor
from app.worker.connection import Connection
from app.worker.connections import Connections
from app.worker.heads import Heads

MAX_CONNECTIONS, KEEPALIVE_S, SEND_TIMEOUT_S = 2, 1.5, 3
LARGE_BYTES = 20_000_000  # more than the buffers of both sockets hold


class Echo:
    """Echoes data in capitals, a letter "b" many times over; raises an error for "break".

    Before the answer to "wait", something else has its turn until ``go_on`` is set.
    """

    def __init__(self) -> None:
        self.go_on = Event()
        self.connections = Connections(self.handle, KEEPALIVE_S, MAX_CONNECTIONS, Heads())
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        self.address = listener.getsockname()
        self.acceptor = Acceptor(listener, "a name", self.connections)
        self.acceptor.start()

    def handle(self, connection: Connection, data: bytes) -> None:
        """Respond to the data that has arrived."""
        if data == b"break":
            raise ValueError(data)
        if data == b"wait":
            self.go_on.wait()
        connection.send(data.upper() * (LARGE_BYTES if data == b"b" else 1), timeout_s=SEND_TIMEOUT_S)
        self.connections.wait_readable(connection)

    @contextmanager
    def connected(self, *chunks: bytes) -> Iterator[Any]:
        """Connect and send *chunks*."""
        with socket.create_connection(self.address, timeout=60) as client:
            for chunk in chunks:
                client.sendall(chunk)
            yield client


@pytest.fixture(name="echo")
def _echo() -> Iterator[Echo]:
    echo = Echo()
    yield echo
    echo.acceptor.close()


def _read_all(client: Any) -> bytes:
    return b"".join(iter(lambda: client.recv(100_000), b""))


def test_idle_connections_are_closed(echo: Echo) -> None:
    """A connection that sends nothing, or nothing more, is closed."""
    with echo.connected() as silent, echo.connected(b"a") as active:
        assert active.recv(1) == b"A"
        assert (silent.recv(1), active.recv(1)) == (b"", b"")
        assert len(echo.connections) == 0


def test_slow_reader(echo: Echo) -> None:
    """A response larger than the buffers is sent as the client reads, and dropped after the time-out."""
    with echo.connected(b"b") as slow, echo.connected(b"b") as stuck:
        gevent.sleep(SEND_TIMEOUT_S / 10)
        assert len(_read_all(slow)) == LARGE_BYTES
        gevent.sleep(SEND_TIMEOUT_S)
        assert len(_read_all(stuck)) < LARGE_BYTES


def test_connection_limit(echo: Echo) -> None:
    """Above the limit, a connection waits until another one is closed."""
    with echo.connected(), echo.connected(), echo.connected(b"a") as third:
        gevent.sleep(KEEPALIVE_S / 4)
        assert len(echo.connections) == MAX_CONNECTIONS
        assert third.recv(1) == b"A"


def test_error_in_the_handler(echo: Echo, capsys: pytest.CaptureFixture[str]) -> None:
    """An error closes its own connection, is reported, and makes room for another one."""
    for _ in range(MAX_CONNECTIONS + 1):
        with echo.connected(b"break") as broken:
            assert broken.recv(1) == b""

    with echo.connected(b"a") as client:
        assert client.recv(1) == b"A"
    assert "ValueError: b'break'" in capsys.readouterr().err


@pytest.mark.parametrize("ends", [False, True])
def test_data_during_an_answer(echo: Echo, *, ends: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What arrives during an answer is read after it, and costs the event loop one turn at most."""
    pauses = []

    def pause(connection: Connection) -> None:
        pauses.append(connection)
        connection.watcher.stop()

    monkeypatch.setattr(Connection, "pause", pause)
    with echo.connected(b"a") as client:
        assert client.recv(1) == b"A"
        client.sendall(b"wait")
        gevent.sleep(0.05)
        client.shutdown(socket.SHUT_WR) if ends else client.sendall(b"next")
        gevent.sleep(0.05)
        assert len(pauses) == 1
        echo.go_on.set()
        assert client.recv(4) == b"WAIT"
        assert client.recv(4) == (b"" if ends else b"NEXT")
