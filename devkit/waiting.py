"""Waiting for a condition, and measuring time."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE_S = 60.0  # for a condition that must come true, where no requirement limits the time


def until(is_so: Callable[[], bool], deadline_s: float = PATIENCE_S) -> float:
    """Wait until *is_so* and return the seconds; raises AssertionError after *deadline_s*."""
    began = time.monotonic()
    while not is_so():
        assert time.monotonic() < began + deadline_s, f"not true within {deadline_s} s"
        time.sleep(0.01)
    return time.monotonic() - began


def seconds(do: Callable[[], object]) -> float:
    """Return how many seconds *do* takes."""
    began = time.monotonic()
    do()
    return time.monotonic() - began


def at_best(measure: Callable[[], float | tuple[float, ...]], *most: float, tries: int = 30) -> None:
    """Repeat a measurement until every figure is below its bound in *most*; raises AssertionError.

    A busy machine makes measurements longer and never shorter, so the best one is that of the code itself.
    """
    seen: list[tuple[float, ...]] = []
    for _ in range(tries):
        figures = measure()
        seen.append(figures if isinstance(figures, tuple) else (figures,))
        if all(figure < bound for figure, bound in zip(seen[-1], most, strict=True)):
            return
    raise AssertionError(f"not once below {most}: {seen}")
