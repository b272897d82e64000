"""Several servers asked the same thing at once, so that one which does not answer costs no time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import gevent
import redis

T = TypeVar("T")
_TOO_LATE = redis.TimeoutError("no answer soon after another's")


def at_once(asks: Sequence[Callable[[], T]], spare_s: float | None = None) -> Iterator[T | Exception]:
    """Yield what comes of *asks* as it comes, trouble included; drop the rest when nobody listens.

    With *spare_s* the others have that long after the first answer, or as long as it took.
    """
    began, ending = time.monotonic(), None
    jobs: list[Any] = [gevent.spawn(_outcome, ask) for ask in asks]
    try:
        for job in gevent.iwait(jobs):
            if spare_s is not None and ending is None and not isinstance(job.value, Exception):
                left_s = max(spare_s, time.monotonic() - began)
                ending = gevent.spawn_later(left_s, gevent.killall, jobs, _TOO_LATE, block=False)
            yield job.value
    finally:
        gevent.killall([*jobs, *filter(None, [ending])], block=False)


def _outcome(ask: Callable[[], T]) -> T | Exception:
    try:
        return ask()
    except Exception as error:  # noqa: BLE001 - it is raised, or not, by whoever listens
        return error
