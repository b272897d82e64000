"""Concurrent commands of one worker share round trips (docs/decisions/0007).

All pending commands are sent in one write. Replies arrive in the order of the commands, so each caller
receives the reply at its own position. A caller that gives up keeps its position, and its reply is discarded.
Round trips are timed by batch and not by command, which costs a decision next to nothing.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from ssl import SSLWantReadError
from typing import Any

import gevent
import hiredis
import redis
from gevent import get_hub
from gevent.hub import Waiter
from redis import exceptions

from app.store.transport.background import SingleFlight
from app.store.transport.deadlines import is_no_primary

_READ_BYTES = 65_536
_READABLE, _WRITABLE = 1, 2  # libev's events
_RETRY_PAUSE_S = 0.025  # bounds the attempts to connect when many callers need a connection

# Called with the seconds that a round trip took, and the number of commands that it answered.
Observe = Callable[[float, int], None]


def ignore(_seconds: float, _commands: int) -> None:
    """Observe nothing."""


class Pipeline:
    """Sends commands as redis.Redis does, over one shared connection; replies are returned undecoded.

    *make_connection* returns a redis-py connection that is not connected yet. A connection that is replaced
    is closed *drain_s* seconds later. *observe* receives the duration of each round trip.
    """

    def __init__(self, make_connection: Callable[[], Any], drain_s: float, observe: Observe = ignore) -> None:
        self._make_connection = make_connection
        self._drain_s = drain_s
        self._observe = observe
        self._connection: PipelinedConnection | None = None
        self._connecting = SingleFlight(self._connect, concurrent=True)
        self._failure: Exception | None = None
        self._retry_at = 0.0

    def evalsha(self, *args: str | int) -> Any:
        """Run a cached script; raises redis.ResponseError, including NoScriptError."""
        return self.execute_command("EVALSHA", *args)

    def eval(self, *args: str | int) -> Any:
        """Run a script from its source; raises redis.ResponseError."""
        return self.execute_command("EVAL", *args)

    def close(self) -> None:
        """Close the connection and fail the commands in progress; the next command opens a new one."""
        if self._connection:
            self._connection.close(redis.ConnectionError("the connection was closed by the service"))

    @property
    def waiting(self) -> int:
        """The number of commands on the connection that Redis has not answered yet."""
        return len(self._connection.waiters) if self._connection else 0

    def execute_command(self, *parts: Any) -> Any:
        """Send one command and return its reply undecoded; raises redis.ResponseError."""
        connection = self._connection or self._connected()
        waiter = connection.send(hiredis.pack_command(parts))
        try:
            reply = waiter.get()
        except gevent.Timeout:
            self._replace(connection)
            raise
        if isinstance(reply, redis.ResponseError):
            if is_no_primary(reply):
                connection.close(reply)
            raise reply
        return reply

    def _connected(self) -> PipelinedConnection:
        """Return a new connection; raises the last failure again while the pause after it lasts."""
        if self._failure and not self._connecting.is_running and time.monotonic() < self._retry_at:
            raise self._failure.with_traceback(None)
        return self._connecting()

    def _replace(self, late: PipelinedConnection) -> None:
        """Start to replace a connection that missed a deadline; it stays in use until that is done."""
        if self._connection is late and time.monotonic() >= self._retry_at:
            self._connecting.start()

    def _connect(self) -> PipelinedConnection:
        late = self._connection
        try:
            connection = self._make_connection()
            connection.connect()
            self._connection = PipelinedConnection(connection, self._forget, self._observe)
        except Exception as error:
            self._failure, self._retry_at = error, time.monotonic() + _RETRY_PAUSE_S
            raise
        finally:
            if late:
                self._retire(late)
        return self._connection

    def _forget(self, connection: PipelinedConnection) -> None:
        if self._connection is connection:
            self._connection = None

    def _retire(self, connection: PipelinedConnection) -> None:
        """Send nothing more on *connection*, and close it when all callers' deadlines have passed."""
        self._forget(connection)
        gevent.spawn_later(self._drain_s, connection.close, redis.ConnectionError("retired"))


class PipelinedConnection:
    """One connection, and in order the callers that wait for replies on it.

    The event loop itself reads and writes, because a greenlet for each costs two switches a round trip.
    """

    def __init__(
        self, connection: Any, on_close: Callable[[PipelinedConnection], None], observe: Observe
    ) -> None:
        self._connection = connection
        self._socket = connection._sock  # noqa: SLF001 - redis-py has connected it; all further I/O happens here
        self._socket.settimeout(0)
        self._has_more = getattr(self._socket, "pending", int)  # bytes that TLS has decrypted already
        self._on_close = on_close
        self._loop = get_hub().loop
        self._pending: list[bytes] = []
        self._unsent = b""
        self.waiters: deque[Waiter[Any]] = deque()
        self._observe = observe
        # When each batch was sent, and how many of its commands are not answered.
        self._sent: deque[tuple[float, int]] = deque()
        self._replies = hiredis.Reader(replyError=_response_error)
        self._is_open = True
        self._readable, self._writable = (
            self._loop.io(self._socket.fileno(), event) for event in (_READABLE, _WRITABLE)
        )
        self._readable.start(self._guarded, self._read)

    def send(self, command: bytes) -> Waiter[Any]:
        """Queue *command* and return the waiter for its reply; raises redis.ConnectionError if closed."""
        if not self._is_open:
            raise redis.ConnectionError("the connection was lost")
        waiter: Waiter[Any] = Waiter()
        self.waiters.append(waiter)
        if not self._pending:
            self._loop.run_callback(self._guarded, self._write)
        self._pending.append(command)
        return waiter

    def close(self, error: Exception) -> None:
        """Close the connection and raise *error* in every caller that waits for a reply."""
        if not self._is_open:
            return
        self._is_open = False
        self._on_close(self)
        while self.waiters:
            self._loop.run_callback(self.waiters.popleft().throw, error)
        self._readable.close()
        self._writable.close()
        self._connection.disconnect()

    def _guarded(self, work: Callable[[], None]) -> None:
        """Do *work* unless the connection is closed meanwhile; close it if that fails."""
        try:
            if self._is_open:
                work()
        except (BlockingIOError, SSLWantReadError):
            return
        except (OSError, redis.RedisError, hiredis.HiredisError, IndexError) as error:
            self.close(redis.ConnectionError(f"the connection was lost: {error}"))

    def _write(self) -> None:
        """Send all pending commands at once; what the kernel does not take follows when it can."""
        if self._pending:
            commands, self._pending = self._pending, []
            self._sent.append((time.perf_counter(), len(commands)))
            self._unsent += b"".join(commands)
        with suppress(BlockingIOError):
            self._unsent = self._unsent[self._socket.send(self._unsent) :]
        if self._unsent:
            self._writable.start(self._guarded, self._write)
        else:
            self._writable.stop()

    def _read(self) -> None:
        """Hand out the replies that have arrived; each caller runs until it waits again."""
        has_more: Any = True
        while has_more:
            chunk = self._socket.recv(_READ_BYTES)
            if not chunk:
                raise redis.ConnectionError("closed by the server")
            self._hand_out(chunk)
            has_more = self._is_open and self._has_more()

    def _hand_out(self, chunk: bytes) -> None:
        arrived, answered = time.perf_counter(), 0
        self._replies.feed(chunk)
        while self._is_open and (reply := self._replies.gets()) is not False:
            answered += 1
            self.waiters.popleft().switch(reply)
        self._time(arrived, answered)

    def _time(self, arrived: float, answered: int) -> None:
        """Observe the round trips of the next *answered* commands, which may belong to several batches."""
        while answered:
            sent_at, unanswered = self._sent.popleft()
            if unanswered > answered:
                self._sent.appendleft((sent_at, unanswered - answered))
                unanswered = answered
            self._observe(arrived - sent_at, unanswered)
            answered -= unanswered


_ERRORS: dict[str, type[redis.ResponseError]] = {
    "NOSCRIPT": exceptions.NoScriptError,
    "READONLY": redis.ReadOnlyError,
    "MASTERDOWN": exceptions.MasterDownError,
    "MOVED": exceptions.MovedError,
    "ASK": exceptions.AskError,
    "TRYAGAIN": exceptions.TryAgainError,
    "CLUSTERDOWN": exceptions.ClusterDownError,
}


def _response_error(text: str) -> redis.ResponseError:
    code, _, rest = text.partition(" ")
    error_class = _ERRORS.get(code, redis.ResponseError)
    return error_class(rest if code in {"MOVED", "ASK"} else text)
