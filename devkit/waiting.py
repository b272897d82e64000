"""Waiting for a state, and time where it is the law itself."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE_S = 60.0  # for what has to happen at some time; no law is about it


def until(is_so: Callable[[], bool], deadline_s: float = PATIENCE_S) -> float:
    """Wait until *is_so*; return how many seconds that took."""
    began = time.monotonic()
    while not is_so():
        assert time.monotonic() < began + deadline_s, "it takes too long"
        time.sleep(0.01)
    return time.monotonic() - began


def seconds(do: Callable[[], object]) -> float:
    """Return how long *do* takes."""
    began = time.monotonic()
    do()
    return time.monotonic() - began


def at_best(measure: Callable[[], float | tuple[float, ...]], *most: float, tries: int = 30) -> None:
    """Measure again until every figure is below its bound in *most*; fail if that never happens.

    A busy machine makes any one measurement longer and none shorter, so the best one is the code's own.
    """
    seen: list[tuple[float, ...]] = []
    for _ in range(tries):
        figures = measure()
        seen.append(figures if isinstance(figures, tuple) else (figures,))
        if all(figure < bound for figure, bound in zip(seen[-1], most, strict=True)):
            return
    raise AssertionError(f"not once below {most}: {seen}")
