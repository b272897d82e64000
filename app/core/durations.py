"""Spans of time as people write them, such as ``1h30m``, and as they read them, such as *3 hours ago*."""

from __future__ import annotations

import re
from collections.abc import Sequence

_SIZES = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
_DURATION = re.compile("".join(f"(?:(?P<{unit}>[0-9]{{1,12}}){unit})?" for unit in _SIZES), re.ASCII)
_SECONDS = re.compile("[0-9]{1,12}", re.ASCII)

# One of each unit, several, and its size.
Units = Sequence[tuple[str, str, int]]
LONG: Units = (
    ("year", "years", 31_557_600),
    ("day", "days", 86_400),
    ("hour", "hours", 3_600),
    ("minute", "minutes", 60),
    ("second", "seconds", 1),
)
SHORT: Units = (
    ("year", "years", 31_557_600),
    ("day", "days", 86_400),
    ("h", "h", 3_600),
    ("min", "min", 60),
    ("s", "s", 1),
)
_MINUTE_S = 60


def parse(text: str) -> int:
    """Return the seconds of *text*: weeks, days, hours, minutes and seconds, or a plain number of seconds.

    Raises ValueError.
    """
    found = _DURATION.fullmatch(text)
    if _SECONDS.fullmatch(text):
        return int(text)
    if not (text and found):
        raise ValueError(f"a duration such as 30d, 12h or 1h30m, or a number of seconds, not {text!r}")
    return sum(int(number or 0) * _SIZES[unit] for unit, number in found.groupdict().items())


def in_words(seconds: int, units: Units = LONG[1:]) -> str:
    """Return *seconds*, at least one, in the largest of *units*, up to a day, that divides them."""
    return _count(seconds, next(unit for unit in units if seconds % unit[-1] == 0))


def distance(seconds: int, units: Units = LONG) -> str:
    """Return a distance in time in the largest of *units* that fits twice.

    The future is rounded. The past is rounded down, and to a minute at least: uses are stored to the minute.
    """
    if seconds > 0:
        unit = _fitting(seconds, units)
        return f"in {_count(seconds + unit[-1] // 2, unit)}"
    if -seconds < _MINUTE_S:
        return "just now" if units is SHORT else "less than a minute ago"
    return f"{_count(-seconds, _fitting(-seconds, units[:-1]))} ago"


def _fitting(span: int, units: Units) -> tuple[str, str, int]:
    return next((unit for unit in units if span >= 2 * unit[-1]), units[-1])


def _count(seconds: int, unit: tuple[str, str, int]) -> str:
    one, several, size = unit
    number = seconds // size
    return f"{number} {one if number == 1 else several}"
