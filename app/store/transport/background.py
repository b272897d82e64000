"""Work that outlives the caller that needs it (docs/decisions/0018)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import gevent
import redis

from app.core.errors import StoreUnavailableError
from app.store.transport.deadlines import StillConnectingError, bounded

T = TypeVar("T")
_BACKGROUND_LIMIT_S = 5.0  # enough for several round trips and a new connection
_log = logging.getLogger(__name__)


class SingleFlight(Generic[T]):
    """Runs *work* at most once at a time, and gives its outcome to every caller that waits for it.

    "Single flight" is the standard term for this. If *concurrent*, the work runs in its own greenlet,
    continues when callers give up, and fails after *limit_s* seconds. If not, each caller runs it itself.
    """

    def __init__(self, work: Callable[[], T], limit_s: float | None = None, *, concurrent: bool) -> None:
        self._work = work
        self._limit_s = limit_s
        self._concurrent = concurrent
        self._job: Any = None

    @property
    def is_running(self) -> bool:
        """Tell whether the work is in progress."""
        return self._job is not None

    def start(self) -> None:
        """Start the work in its own greenlet unless it is in progress, and return at once."""
        if self._job is None:
            self._job = gevent.spawn(self._run)

    def __call__(self) -> T:
        """Return the work's result; raises StillConnectingError if the caller's deadline passes first."""
        if not self._concurrent:
            return self._work()
        self.start()
        try:
            outcome: T | Exception = self._job.get()
        except gevent.Timeout:
            raise StillConnectingError from None
        if isinstance(outcome, Exception):
            raise outcome.with_traceback(
                None
            )  # so that callers do not add their frames to a shared traceback
        return outcome

    def _run(self) -> T | Exception:
        try:
            with gevent.Timeout(self._limit_s):
                return self._work()
        except gevent.Timeout:
            return redis.TimeoutError(f"not done after {self._limit_s:g} s")
        except Exception as error:  # noqa: BLE001 - raised again in each caller
            return error
        finally:
            self._job = None


def run_in_background(work: Callable[[], None], *, concurrent: bool) -> None:
    """Run *work* that no response depends on, in its own greenlet if *concurrent*; log a failure."""
    if concurrent:
        gevent.spawn(_run_bounded, work)
    else:
        _run_bounded(work)


def _run_bounded(work: Callable[[], None]) -> None:
    try:
        with bounded(_BACKGROUND_LIMIT_S):
            work()
    except StoreUnavailableError as error:
        _log.error("work in the background failed: %(error)s", {"error": error})
