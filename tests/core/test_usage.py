"""The hours and days of usage."""

from __future__ import annotations

from app.core.usage import DAYS, HOURS, Counts, Usage, days, hours
from devkit.builders import NOW


def test_periods() -> None:
    """Each hour and day begins where the one before it ends, and the last one has begun."""
    usage = Usage(hours=(Counts(),) * (HOURS - 1) + (Counts(5, 1, 2, 3),))
    for periods, length_s, count in ((hours(usage, NOW), 3600, HOURS), (days(usage, NOW), 86_400, DAYS)):
        starts = [period.start for period in periods]
        assert starts == [starts[0] + length_s * number for number in range(count)]
        assert starts[-1] <= NOW < starts[-1] + length_s
        assert starts[0] % length_s == 0
    assert hours(usage, NOW)[-1].counts.refused == 6
