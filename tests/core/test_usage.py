"""The hours and days of usage."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from app.core.usage import DAYS, HOURS, Counts, Usage
from devkit.builders import NOW


def test_periods() -> None:
    """Each hour and day begins where the one before it ends, and the last one has begun."""
    usage = Usage(hours=(Counts(),) * (HOURS - 1) + (Counts(5, 1, 2, 3),)).described(NOW)
    now = datetime.fromtimestamp(NOW, UTC)
    for name, length, count in (("hours", timedelta(hours=1), HOURS), ("days", timedelta(days=1), DAYS)):
        starts = [datetime.fromisoformat(period["start"]) for period in usage[name]]
        assert starts == [starts[0] + length * number for number in range(count)]
        assert starts[-1] <= now < starts[-1] + length
    assert (usage["hours"][-1]["allowed"], usage["hours"][-1]["refused"]) == (5, 6)
