"""Pauses in long work, during which the event loop serves other requests."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

import gevent

_T = TypeVar("_T")

_EVERY_S = 0.001
# A sleep of 0 would run other greenlets, but not read from any connection, however often it is repeated.
_SHORTEST_S = 1e-6


def pause() -> None:
    """Let the event loop read from all connections once."""
    gevent.sleep(_SHORTEST_S)


def paced(items: Iterable[_T]) -> Iterator[_T]:
    """Yield *items*, with a pause whenever the work on them has taken a millisecond."""
    due = time.perf_counter() + _EVERY_S
    for item in items:
        yield item
        if time.perf_counter() >= due:
            pause()
            due = time.perf_counter() + _EVERY_S
