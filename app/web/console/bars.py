"""The bars of a row of the table: the requests of the last 36 hours, drawn as two paths."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import NamedTuple

from app.core.usage import Counts, Usage, total

HOURS = 36
HEIGHT = 9


class Bars(NamedTuple):
    """The outlines of all requests and, in front of them, of those that were refused; and their sums."""

    all: str
    refused: str
    sums: Counts


def bars(usage: Usage) -> Bars:
    """Return the bars of *usage*, an hour wide each, with the busiest hour at full height."""
    hours = usage.hours[-HOURS:]
    most = max(hour.total for hour in hours)
    levels = [_levels(hour, most) for hour in hours]
    refused = _outline(part for _, part in levels) if any(part for _, part in levels) else ""
    return Bars(_outline(whole for whole, _ in levels), refused, total(hours))


def _levels(hour: Counts, most: int) -> tuple[int, int]:
    """Return the heights of all requests and of those refused; what is not zero can be seen."""
    whole, part = _level(hour.total, most), _level(hour.refused, most)
    if hour.refused and hour.allowed:
        whole = max(whole, 2)
        part = min(part, whole - 1)
    return whole, part


def _level(count: int, most: int) -> int:
    return -(-HEIGHT * count // most) if count else 0


def _outline(levels: Iterable[int]) -> str:
    """Return a closed path along *levels*, which takes few characters where neighbors are equal."""
    steps = (f"V{HEIGHT - level}h{len(list(hours))}" for level, hours in groupby(levels))
    return f"M0 {HEIGHT}{''.join(steps)}V{HEIGHT}z"
