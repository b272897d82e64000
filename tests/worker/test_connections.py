"""Connections without a greenlet of their own, over real sockets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gevent
import pytest
from gevent import socket

from app.worker.connections import Connection, Connections
from app.worker.heads import Heads

MOST, KEEPALIVE_S, PATIENCE_S = 2, 1.5, 3
TIMES = 20_000_000  # more than the buffers of both ends hold


class Echo:
    """Says back what it hears, in capitals, a letter "b" many times; breaks on "break"."""

    def __init__(self) -> None:
        self.connections = Connections(self.attend, KEEPALIVE_S, MOST, Heads())
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        self.address = listener.getsockname()
        self.acceptor = self.connections.listen(listener, "a name")
        self.acceptor.start()

    def attend(self, connection: Connection) -> None:
        """Answer what has come."""
        try:
            heard = connection.socket.recv(100)
        except BlockingIOError:
            return self.connections.wait(connection)
        if heard == b"break":
            raise ValueError(heard)
        if not heard:
            return self.connections.close(connection)
        connection.send(heard.upper() * (TIMES if heard == b"b" else 1), patience_s=PATIENCE_S)
        return self.connections.wait(connection)

    @contextmanager
    def said(self, *words: bytes) -> Iterator[Any]:
        """Connect and say something."""
        with socket.create_connection(self.address, timeout=60) as client:
            for word in words:
                client.sendall(word)
            yield client


@pytest.fixture(name="echo")
def _echo() -> Iterator[Echo]:
    made = Echo()
    yield made
    made.acceptor.close()


def _all_of(client: Any) -> bytes:
    return b"".join(iter(lambda: client.recv(100_000), b""))


def test_silence(echo: Echo) -> None:
    """Who says nothing more, or nothing at all, is hung up on."""
    with echo.said() as silent, echo.said(b"a") as spoken:
        assert spoken.recv(1) == b"A"
        assert (silent.recv(1), spoken.recv(1)) == (b"", b"")
        assert len(echo.connections) == 0


def test_slow_reader(echo: Echo) -> None:
    """What does not fit the buffers is sent when there is room, and given up when there is none for long."""
    with echo.said(b"b") as slow, echo.said(b"b") as stuck:
        gevent.sleep(PATIENCE_S / 10)
        assert len(_all_of(slow)) == TIMES
        gevent.sleep(PATIENCE_S)
        assert len(_all_of(stuck)) < TIMES


def test_room(echo: Echo) -> None:
    """Beyond the most, one waits until another has gone."""
    with echo.said(), echo.said(), echo.said(b"a") as third:
        gevent.sleep(KEEPALIVE_S / 4)
        assert len(echo.connections) == MOST
        assert third.recv(1) == b"A"


def test_trouble(echo: Echo, capsys: pytest.CaptureFixture[str]) -> None:
    """What breaks ends its own connection, is told, and leaves room."""
    for _ in range(MOST + 1):
        with echo.said(b"break") as broken:
            assert broken.recv(1) == b""

    with echo.said(b"a") as client:
        assert client.recv(1) == b"A"
    assert "ValueError: b'break'" in capsys.readouterr().err
