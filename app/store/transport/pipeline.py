"""Concurrent commands of one worker share round trips (docs/decisions/0007).

All pending commands are sent in one write. Replies arrive in the order of the commands, so each caller
receives the reply at its own position. A caller that gives up keeps its position, and its reply is discarded.
Round trips are timed by batch and not by command, which costs a decision next to nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import gevent
import hiredis
import redis

from app.store.transport.background import SingleFlight
from app.store.transport.deadlines import is_no_primary
from app.store.transport.pipelined import Observe, PipelinedConnection, ignore

_RETRY_PAUSE_S = 0.025  # bounds the attempts to connect when many callers need a connection


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
