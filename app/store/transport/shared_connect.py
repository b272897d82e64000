"""Connections whose setup outlives the decision that started it (docs/decisions/0018)."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from functools import cache, partial
from typing import Any, ClassVar
from weakref import WeakMethod, WeakSet

import gevent
import redis
from redis.connection import AbstractConnection

from app.store.transport.background import SingleFlight
from app.store.transport.deadlines import TooOldError

_MIN_STEP_S, _MAX_STEP_S = 0.5, 2.0
_STEPS = 10  # at most: look up the primary, TCP, TLS, AUTH, SELECT, INFO
_MIN_VERSION = 7  # the first to accept scripts that begin with "#!lua"
_VERSION = re.compile(rb"^redis_version:((\d+)\S*)", re.MULTILINE)


def connect_step_s(deadline_s: float) -> float:
    """Return the time-out in seconds for one round trip of connection setup, given a decision's *deadline_s*.

    It is long enough for every server that can meet the deadline, even for a TLS handshake of two round
    trips, and short enough that a dead server is retried soon after it recovers.
    """
    return min(max(_MIN_STEP_S, 2 * deadline_s), _MAX_STEP_S)


def _call(reference: WeakMethod[Callable[[], Any]]) -> None:
    if method := reference():
        method()


class SharedConnect(AbstractConnection):
    """A mixin that connects in the background; all callers wait for the same attempt."""

    concurrent: ClassVar[bool]
    _all: ClassVar[WeakSet[SharedConnect]] = WeakSet()

    @classmethod
    def count_open(cls) -> int:
        """Return how many connections to Redis this process has."""
        return sum(connection.is_connected for connection in cls._all)

    def __init__(self, *, socket_timeout: float, **options: Any) -> None:
        self._all.add(self)
        self._command_timeout_s = socket_timeout
        step_s = connect_step_s(socket_timeout)
        super().__init__(**options | {"socket_timeout": step_s, "socket_connect_timeout": step_s})
        # Weak, because a cycle would leave the closing of a dropped connection to the garbage collector.
        connect = partial(_call, WeakMethod(super().connect))
        self._connecting = SingleFlight(connect, _STEPS * step_s, concurrent=self.concurrent)

    def connect(self) -> None:
        """Connect, or wait for the attempt in progress."""
        if self._connecting.is_running or not self.is_connected:
            self._connecting()

    def disconnect(self, *args: Any, **options: Any) -> None:
        """Close the connection; after a missed deadline, start to reconnect for the next caller."""
        super().disconnect(*args, **options)  # type: ignore[no-untyped-call]
        if self.concurrent and isinstance(sys.exception(), gevent.Timeout):
            self._connecting.start()

    def on_connect_check_health(self, *args: Any, **options: Any) -> None:
        """Authenticate, check the server's version, and switch to the time-out for commands."""
        super().on_connect_check_health(*args, **options)
        self._check_version()
        self.update_current_socket_timeout(self._command_timeout_s)

    def _check_version(self) -> None:
        self.send_command("INFO", "server")  # type: ignore[no-untyped-call]
        try:
            info = self.read_response(disable_decoding=True)
        except redis.ResponseError:
            return  # an ACL user may lack the right to INFO
        version = _VERSION.search(info) if isinstance(info, bytes) else None
        if version and int(version[2]) < _MIN_VERSION:
            raise TooOldError(version[1].decode())


@cache
def with_shared_connect(connection_class: type, *, concurrent: bool) -> Any:
    """Return a subclass of *connection_class* with the mixin; it is *concurrent* in a gevent worker only."""
    name = f"SharedConnect{connection_class.__name__}"
    return type(name, (SharedConnect, connection_class), {"concurrent": concurrent})
