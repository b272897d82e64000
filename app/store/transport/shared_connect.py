"""Connections whose making outlives the decision that began it (docs/decisions/0018)."""

from __future__ import annotations

import re
import sys
from functools import cache
from typing import Any

import gevent
import redis
from redis.connection import AbstractConnection

from app.store.transport.background import Shared, in_worker
from app.store.transport.deadlines import TooOldError

_LEAST_STEP_S, _MOST_STEP_S = 0.5, 2.0
_STEPS = 10  # in all: to find a primary, TCP, TLS, to sign in, to choose the database, to ask the version
_LEAST_VERSION = 7  # its scripts begin with "#!lua"
_VERSION = re.compile(rb"^redis_version:((\d+)\S*)", re.MULTILINE)


def step_s(deadline_s: float) -> float:
    """Return how long one round trip of connecting may take where a decision has *deadline_s*.

    Who answers in time at all keeps it, with TLS too, which takes two; a server that is gone is left soon,
    so that its return is noticed.
    """
    return min(max(_LEAST_STEP_S, 2 * deadline_s), _MOST_STEP_S)


class Lasting(AbstractConnection):
    """Connects beside its caller; whoever comes to it while that goes on waits for the same."""

    def __init__(self, *, socket_timeout: float, **options: Any) -> None:
        self._usual_s = socket_timeout
        step = step_s(socket_timeout)
        super().__init__(**options | {"socket_timeout": step, "socket_connect_timeout": step})
        self._opening = Shared(super().connect, _STEPS * step)

    def connect(self) -> None:
        """Connect, or wait until that is done."""
        if self._opening.is_running or not self.is_connected:
            self._opening()

    def disconnect(self, *args: Any, **options: Any) -> None:
        """End the connection; if that is because a caller's time was over, make one for the next at once."""
        super().disconnect(*args, **options)  # type: ignore[no-untyped-call]
        if isinstance(sys.exception(), gevent.Timeout) and in_worker():
            self._opening.begin()

    def on_connect_check_health(self, *args: Any, **options: Any) -> None:
        """Sign in, refuse a server that is too old, and from then on wait as briefly as a decision does."""
        super().on_connect_check_health(*args, **options)
        self._refuse_old()
        self.update_current_socket_timeout(self._usual_s)

    def _refuse_old(self) -> None:
        self.send_command("INFO", "server")  # type: ignore[no-untyped-call]
        try:
            told = self.read_response(disable_decoding=True)
        except redis.ResponseError:
            return  # not everybody may ask
        found = _VERSION.search(told) if isinstance(told, bytes) else None
        if found and int(found[2]) < _LEAST_VERSION:
            raise TooOldError(found[1].decode())


@cache
def lasting(kind: type) -> Any:
    """Return the class of connections of *kind* that last."""
    return type(f"Lasting{kind.__name__}", (Lasting, kind), {})
