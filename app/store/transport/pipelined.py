"""One connection that concurrent commands share (docs/decisions/0007)."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from ssl import SSLWantReadError
from typing import Any

import hiredis
import redis
from gevent import get_hub
from gevent.hub import Waiter
from redis import exceptions

_READ_BYTES = 65_536
# So many commands are sent at once, so that Redis works on them while the event loop reads further requests.
_BATCH = 16
_READABLE, _WRITABLE = 1, 2  # libev's events

# Called with the seconds that a round trip took, and the number of commands that it answered.
Observe = Callable[[float, int], None]


def ignore(_seconds: float, _commands: int) -> None:
    """Observe nothing."""


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
        if len(self._pending) == _BATCH:
            self._guarded(self._write)
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
        if self._unsent:
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
