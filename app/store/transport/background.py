"""Work that goes on when whoever asked for it can't wait any longer (docs/decisions/0018)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import gevent
import redis
from gevent import monkey

from app.core.errors import StoreUnavailableError
from app.store.transport.deadlines import StillConnectingError, bounded

T = TypeVar("T")
_LATER_S = 5.0  # for what follows a decision: some round trips, a connection among them
_log = logging.getLogger(__name__)


class Shared(Generic[T]):
    """One *work* at a time: all who need it meanwhile get its outcome, and it outlives those who leave.

    It ends after *limit_s* seconds if not by itself. Outside of a worker, where nothing goes on beside a
    caller, each does it.
    """

    def __init__(self, work: Callable[[], T], limit_s: float | None = None) -> None:
        self._work = work
        self._limit_s = limit_s
        self._job: Any = None

    @property
    def is_running(self) -> bool:
        """Tell whether it goes on right now."""
        return self._job is not None

    def begin(self) -> None:
        """Begin, unless it goes on already, and do not wait."""
        if self._job is None:
            self._job = gevent.spawn(self._run)

    def __call__(self) -> T:
        """Return what comes of it; StillConnectingError if the caller's time ends before that."""
        if not in_worker():
            return self._work()
        self.begin()
        try:
            outcome: T | Exception = self._job.get()
        except gevent.Timeout:
            raise StillConnectingError from None
        if isinstance(outcome, Exception):
            raise outcome.with_traceback(None)  # or each of those who wait would lengthen it
        return outcome

    def _run(self) -> T | Exception:
        try:
            with gevent.Timeout(self._limit_s):
                return self._work()
        except gevent.Timeout:
            return redis.TimeoutError(f"not done after {self._limit_s:g} s")
        except Exception as error:  # noqa: BLE001 - it is raised where it was asked for
            return error
        finally:
            self._job = None


def afterwards(work: Callable[[], None]) -> None:
    """Do what no answer depends on, in a worker beside it; what fails of it is logged."""
    if in_worker():
        gevent.spawn(_do_in_time, work)
    else:
        _do_in_time(work)


def in_worker() -> bool:
    """Tell whether greenlets run beside one that waits for the network."""
    return monkey.is_module_patched("socket")


def _do_in_time(work: Callable[[], None]) -> None:
    try:
        with bounded(_LATER_S):
            work()
    except StoreUnavailableError as error:
        _log.error("left for later: %(error)s", {"error": error})
