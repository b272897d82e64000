"""Spans of time as people write them, such as ``1h30m``, and as they read them, such as *3 hours ago*."""

from __future__ import annotations

import re
from collections.abc import Sequence

_SIZES = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
_DURATION = re.compile("".join(f"(?:(?P<{unit}>[0-9]{{1,12}}){unit})?" for unit in _SIZES), re.ASCII)
_SECONDS = re.compile("[0-9]{1,12}", re.ASCII)

_WORDS = (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1))
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


def in_words(seconds: int) -> str:
    """Return *seconds*, at least one, in the largest unit that divides them."""
    name, size = next(unit for unit in _WORDS if seconds % unit[1] == 0)
    return _count(seconds // size, name)


def distance(seconds: int) -> str:
    """Return a distance in time in the largest unit that fits twice.

    The future is rounded. The past is rounded down, and to a minute at least: uses are stored to the minute.
    """
    if seconds > 0:
        name, size = _unit(seconds, _WORDS)
        return f"in {_count((seconds + size // 2) // size, name)}"
    if -seconds < _MINUTE_S:
        return "less than a minute ago"
    name, size = _unit(-seconds, _WORDS[:-1])
    return f"{_count(-seconds // size, name)} ago"


def _unit(span: int, units: Sequence[tuple[str, int]]) -> tuple[str, int]:
    return next((unit for unit in units if span >= 2 * unit[1]), units[-1])


def _count(number: int, name: str) -> str:
    return f"{number} {name}" if number == 1 else f"{number} {name}s"
