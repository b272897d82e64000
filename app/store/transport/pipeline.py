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
import hiredis
import redis
from gevent import get_hub
from gevent.hub import Waiter
from redis import exceptions

from app.store.transport.background import Shared
from app.store.transport.deadlines import is_no_primary

_READ_BYTES = 65_536
_PAUSE_S = 0.025  # between attempts to connect, so that a crowd does not make one each


class Pipeline:
    """Sends commands as redis.Redis does, over one shared connection of its own; replies stay as they come.

    *make* returns a connection of redis-py that is not connected yet.
    """

    def __init__(self, make: Callable[[], Any], drain_s: float) -> None:
        self._make = make
        self._drain_s = drain_s
        self._line: Line | None = None
        self._opening = Shared(self._open)
        self._failure: Exception | None = None
        self._next_try = 0.0

    def evalsha(self, *args: str | int) -> Any:
        """Run a script that Redis knows; raises redis.ResponseError, NoScriptError among them."""
        return self.execute_command("EVALSHA", *args)

    def eval(self, *args: str | int) -> Any:
        """Run a script by its source; raises redis.ResponseError."""
        return self.execute_command("EVAL", *args)

    def close(self) -> None:
        """Let the connection go, and whoever waits on it; the next caller gets a new one."""
        if self._line:
            self._line.close(redis.ConnectionError("the connection was given up"))

    def execute_command(self, *parts: Any) -> Any:
        """Send one command and return its reply as it came; raises redis.ResponseError."""
        line = self._line or self._opened()
        waiter = line.send(hiredis.pack_command(parts))
        try:
            reply = waiter.get()
        except gevent.Timeout:
            self._replace(line)
            raise
        if isinstance(reply, redis.ResponseError):
            if is_no_primary(reply):
                line.close(reply)
            raise reply
        return reply

    def _opened(self) -> Line:
        """Return a new line; who comes just after a failure has failed too."""
        if self._failure and not self._opening.is_running and time.monotonic() < self._next_try:
            raise self._failure.with_traceback(None)
        return self._opening()

    def _replace(self, late: Line) -> None:
        """Look for another line than one that is late, and may be slow or dead; meanwhile it goes on."""
        if self._line is late and time.monotonic() >= self._next_try:
            self._opening.begin()

    def _open(self) -> Line:
        late = self._line
        try:
            connection = self._make()
            connection.connect()
            self._line = Line(connection, self._forget)
        except Exception as error:
            self._failure, self._next_try = error, time.monotonic() + _PAUSE_S
            raise
        finally:
            if late:
                self._retire(late)
        return self._line

    def _forget(self, line: Line) -> None:
        if self._line is line:
            self._line = None

    def _retire(self, line: Line) -> None:
        """Send nothing more on a line; those on it keep their places until their own deadlines."""
        self._forget(line)
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
        self._writer: Waiter[None] = Waiter()
        self._greenlets = [gevent.spawn(self._guarded, work) for work in (self._write, self._read)]

    def send(self, command: bytes) -> Waiter[Any]:
        """Queue *command*; the waiter gets its reply. Raises redis.ConnectionError if the line is closed."""
        if not self._is_open:
            raise redis.ConnectionError("the connection was lost")
        waiter: Waiter[Any] = Waiter()
        self._waiters.append(waiter)
        if not self._pending:
            self._loop.run_callback(self._writer.switch, None)
        self._pending.append(command)
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
        except (OSError, redis.RedisError, hiredis.HiredisError, IndexError) as error:
            self.close(redis.ConnectionError(f"the connection was lost: {error}"))

    def _write(self) -> None:
        """Write what is pending, all at once; the first of it wakes us up."""
        while True:
            self._writer.get()
            self._writer = Waiter()
            while self._pending:
                commands, self._pending = self._pending, []
                self._socket.sendall(b"".join(commands))

    def _read(self) -> None:
        replies = hiredis.Reader(replyError=_error)
        while chunk := self._socket.recv(_READ_BYTES):
            replies.feed(chunk)
            while (reply := replies.gets()) is not False:
                self._loop.run_callback(self._waiters.popleft().switch, reply)
        raise redis.ConnectionError("closed by the server")


_ERRORS: dict[str, type[redis.ResponseError]] = {
    "NOSCRIPT": exceptions.NoScriptError,
    "READONLY": redis.ReadOnlyError,
    "MASTERDOWN": exceptions.MasterDownError,
    "MOVED": exceptions.MovedError,
    "ASK": exceptions.AskError,
    "TRYAGAIN": exceptions.TryAgainError,
    "CLUSTERDOWN": exceptions.ClusterDownError,
}


def _error(text: str) -> redis.ResponseError:
    code, _, rest = text.partition(" ")
    made = _ERRORS.get(code, redis.ResponseError)
    return made(rest if code in {"MOVED", "ASK"} else text)
