"""The geometry and the labels of a chart of requests by hour or day, for ``_chart.html``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property

from app.core.usage import Counts

HEIGHT, STEP = 100, 10
_LEAST = 2.0  # the height of a bar that would otherwise be too low to be seen
_HOUR_S = 3600
_UNITS = ((10**9, "B"), (10**6, "M"), (10**3, "k"))
_WHOLE = 100  # from here on, a tenth of a unit is left out
# How many periods there are between two labels of the time axis.
_TICKS = {_HOUR_S: 12, 24 * _HOUR_S: 15}


@dataclass(frozen=True)
class Chart:
    """Counts of consecutive periods, *length_s* seconds each; the last one contains *now_s*."""

    periods: Sequence[Counts]
    length_s: int
    now_s: int

    @property
    def width(self) -> int:
        """Return the width of the drawing."""
        return len(self.periods) * STEP

    @cached_property
    def top(self) -> int:
        """Return the end of the axis of counts: 2, 4, 10, 20 or 40 and so on, at least the highest bar."""
        most, power = max((period.total for period in self.periods), default=0), 1
        while most > 10 * power:
            power *= 10
        return next(top for top in (2 * power, 4 * power, 10 * power) if top >= most)

    @property
    def allowed(self) -> str:
        """Return the bars of the allowed requests as one path."""
        tops = (HEIGHT - self._height(period.allowed) for period in self.periods)
        return "".join(f"M{_middle(n)} {HEIGHT}V{top:g}" for n, top in enumerate(tops) if top < HEIGHT)

    @property
    def refused(self) -> str:
        """Return the bars of the refused requests, which stand on those of the allowed ones."""
        bars = ((self._height(period.allowed), self._height(period.refused)) for period in self.periods)
        return "".join(
            f"M{_middle(n)} {HEIGHT - low:g}V{max(0, HEIGHT - low - high):g}"
            for n, (low, high) in enumerate(bars)
            if high
        )

    @property
    def grid(self) -> str:
        """Return the lines at the labels of both axes."""
        across = "".join(f"M0 {y}H{self.width}" for y in (0, HEIGHT // 2, HEIGHT))
        return across + "".join(f"M{n * STEP} 0V{HEIGHT}" for n in self._tick_numbers)

    @property
    def counts(self) -> tuple[str, str, str]:
        """Return the labels of the axis of counts, the highest first."""
        return short(self.top), short(self.top // 2), "0"

    @property
    def ticks(self) -> list[tuple[int, str, str]]:
        """Return the labels of the axis of time: the second, the day, and the hour where it matters."""
        return [
            (at, _day(at), "" if self.length_s > _HOUR_S else f"{datetime.fromtimestamp(at, UTC):%H:%M}")
            for at in map(self._start, self._tick_numbers)
        ]

    @property
    def rows(self) -> list[tuple[str, Counts]]:
        """Return the name of each period and its counts."""
        return [(self._name(self._start(n)), period) for n, period in enumerate(self.periods)]

    @property
    def _tick_numbers(self) -> range:
        return range(0, len(self.periods), _TICKS[self.length_s])

    def _start(self, number: int) -> int:
        return (self.now_s // self.length_s - len(self.periods) + 1 + number) * self.length_s

    def _name(self, at: int) -> str:
        hour = "" if self.length_s > _HOUR_S else f"{datetime.fromtimestamp(at, UTC):, %H:%M}"
        return _day(at) + hour

    def _height(self, count: int) -> float:
        return max(_LEAST, round(HEIGHT * count / self.top, 1)) if count else 0


def short(count: int) -> str:
    """Return a count in at most about five characters, such as ``12.3k``."""
    for size, unit in _UNITS:
        if count >= size:
            whole, tenth = divmod(count * 10 // size, 10)
            return f"{whole}.{tenth}{unit}" if tenth and whole < _WHOLE else f"{whole}{unit}"
    return f"{count}"


def _middle(number: int) -> int:
    return number * STEP + STEP // 2


def _day(at: int) -> str:
    day = datetime.fromtimestamp(at, UTC)
    return f"{day:%b} {day.day}"
