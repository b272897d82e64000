"""Concurrent commands of one worker share round trips.

What is pending goes out in one write; replies come back in the order of the commands, so each caller gets the
one in its place. A caller that gives up leaves its place taken, and its reply is dropped there.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

import gevent
import redis
from gevent import get_hub
from gevent.event import Event
from gevent.hub import Waiter
from gevent.lock import BoundedSemaphore

_READ_BYTES = 65_536
_PAUSE_S = 0.025  # between attempts to connect, so that a crowd does not make one each


class Pipeline:
    """Sends EVALSHA and EVAL, as redis.Redis does, over one shared connection of its own."""

    def __init__(self, client: redis.Redis, drain_s: float) -> None:
        self._pool: Any = client.connection_pool
        self._drain_s = drain_s
        self._line: Line | None = None
        self._opening = BoundedSemaphore()
        self._next_try = 0.0

    def evalsha(self, *args: str | int) -> Any:
        """Run a script that Redis knows; raises redis.ResponseError, NoScriptError among them."""
        return self._call("EVALSHA", *args)

    def eval(self, *args: str | int) -> Any:
        """Run a script by its source; raises redis.ResponseError."""
        return self._call("EVAL", *args)

    def close(self) -> None:
        """Let the connection go, and whoever waits on it; the next caller gets a new one."""
        if self._line:
            self._line.close(redis.ConnectionError("the connection was given up"))

    def _call(self, *parts: str | int) -> Any:
        line = self._line or self._open()
        waiter = line.send(_encode(parts))
        try:
            reply = waiter.get()
        except gevent.Timeout:
            self._retire(line)
            raise
        if isinstance(reply, redis.ResponseError):
            raise reply
        return reply

    def _open(self) -> Line:
        with self._opening:
            if self._line is None:
                if time.monotonic() < self._next_try:
                    raise redis.ConnectionError("no connection a moment ago")
                self._next_try = time.monotonic() + _PAUSE_S
                connection = self._pool.connection_class(**self._pool.connection_kwargs)
                connection.connect()
                self._line = Line(connection, self._forget)
                self._next_try = 0.0
            return self._line

    def _forget(self, line: Line) -> None:
        if self._line is line:
            self._line = None

    def _retire(self, line: Line) -> None:
        """Give new commands another line; those on this one keep their places until their own deadlines."""
        if self._line is line:
            self._line = None
            gevent.spawn_later(self._drain_s, line.close, redis.ConnectionError("retired"))


class Line:
    """One connection, with the callers that wait for a reply on it in order."""

    def __init__(self, connection: Any, on_close: Callable[[Line], None]) -> None:
        self._connection = connection
        self._socket = connection._sock  # noqa: SLF001 - connected and signed in by redis-py, from here on ours
        self._socket.settimeout(None)
        self._on_close = on_close
        self._loop = get_hub().loop
        self._pending: list[bytes] = []
        self._waiters: deque[Waiter[Any]] = deque()
        self._is_open = True
        self._wake = Event()
        self._greenlets = [gevent.spawn(self._guarded, work) for work in (self._write, self._read)]

    def send(self, command: bytes) -> Waiter[Any]:
        """Queue *command*; the waiter gets its reply. Raises redis.ConnectionError if the line is closed."""
        if not self._is_open:
            raise redis.ConnectionError("the connection was lost")
        waiter: Waiter[Any] = Waiter()
        self._waiters.append(waiter)
        self._pending.append(command)
        self._wake.set()
        return waiter

    def close(self, error: Exception) -> None:
        """Fail whoever still waits, and let the connection go."""
        if not self._is_open:
            return
        self._is_open = False
        self._on_close(self)
        while self._waiters:
            self._loop.run_callback(self._waiters.popleft().throw, error)
        current = gevent.getcurrent()
        gevent.killall([greenlet for greenlet in self._greenlets if greenlet is not current], block=False)
        self._connection.disconnect()

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except (OSError, redis.RedisError, ValueError, IndexError) as error:
            self.close(redis.ConnectionError(f"the connection was lost: {error}"))

    def _write(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            commands, self._pending = self._pending, []
            self._socket.sendall(b"".join(commands))

    def _read(self) -> None:
        unread = b""
        while chunk := self._socket.recv(_READ_BYTES):
            unread += chunk
            at = 0
            while (parsed := _parse(unread, at)) is not None:
                reply, at = parsed
                self._loop.run_callback(self._waiters.popleft().switch, reply)
            unread = unread[at:]
        raise redis.ConnectionError("closed by the server")


def _encode(parts: tuple[str | int, ...]) -> bytes:
    texts = [part if isinstance(part, str) else str(part) for part in parts]
    return "".join([f"*{len(texts)}\r\n", *(f"${len(text)}\r\n{text}\r\n" for text in texts)]).encode("ascii")


def _parse(data: bytes, at: int) -> tuple[Any, int] | None:
    """Return the reply that begins at *at* and where it ends, None if it is not all there (RESP2)."""
    end = data.find(b"\r\n", at)
    if end < 0:
        return None
    kind, text, at = data[at : at + 1], data[at + 1 : end], end + 2
    if kind == b"$":
        return _parse_bulk(data, int(text), at)
    if kind == b"*":
        return _parse_array(data, int(text), at)
    if kind == b":":
        return int(text), at
    if kind == b"+":
        return text, at
    if kind == b"-":
        return _error(text.decode(errors="replace")), at
    raise ValueError(f"no reply begins with {kind!r}")


def _parse_bulk(data: bytes, length: int, at: int) -> tuple[Any, int] | None:
    if length < 0:
        return None, at
    end = at + length
    return (data[at:end], end + 2) if len(data) >= end + 2 else None


def _parse_array(data: bytes, length: int, at: int) -> tuple[Any, int] | None:
    items = []
    for _ in range(length):
        parsed = _parse(data, at)
        if parsed is None:
            return None
        item, at = parsed
        items.append(item)
    return items, at


def _error(text: str) -> redis.ResponseError:
    return redis.exceptions.NoScriptError(text) if text.startswith("NOSCRIPT") else redis.ResponseError(text)
