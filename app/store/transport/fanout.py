"""Calls to several servers at once, so that one that does not respond causes no delay.

See docs/decisions/0009.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import gevent
import redis

T = TypeVar("T")
_TOO_LATE = redis.TimeoutError("no reply soon after the first one")


def fan_out(calls: Sequence[Callable[[], T]], grace_s: float | None = None) -> Iterator[T | Exception]:
    """Run *calls* concurrently and yield each result or exception when its call completes.

    Closing the iterator cancels the remaining calls. With *grace_s* set, the calls that are still running
    after the first success have that long to complete, or as long as the first success took if that is
    longer.
    """
    started, canceler = time.monotonic(), None
    jobs: list[Any] = [gevent.spawn(_outcome, call) for call in calls]
    try:
        for job in gevent.iwait(jobs):
            if grace_s is not None and canceler is None and not isinstance(job.value, Exception):
                left_s = max(grace_s, time.monotonic() - started)
                canceler = gevent.spawn_later(left_s, gevent.killall, jobs, _TOO_LATE, block=False)
            yield job.value
    finally:
        gevent.killall([*jobs, *filter(None, [canceler])], block=False)


def _outcome(call: Callable[[], T]) -> T | Exception:
    try:
        return call()
    except Exception as error:  # noqa: BLE001 - the consumer decides whether to raise it
        return error
