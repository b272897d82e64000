"""Charts of requests by hour and day."""

from __future__ import annotations

import re

from hypothesis import given, strategies as st

from app.core.usage import DAYS, HOURS, Counts
from app.web.charts import HEIGHT, Chart, short

NOW_S = 1_795_761_000
COUNTS = st.lists(st.builds(Counts, *[st.integers(0, 10**9)] * 4), min_size=1, max_size=5)


@given(COUNTS)
def test_no_bar_leaves_the_chart_and_none_of_a_request_is_invisible(periods: list[Counts]) -> None:
    """However many requests there were, each bar with any is drawn, within the axis."""
    drawn = Chart(periods, 3600, NOW_S)
    assert drawn.top >= max(period.total for period in periods)
    for path, name in ((drawn.allowed, "allowed"), (drawn.refused, "refused")):
        bars = [(float(low), float(high)) for low, high in re.findall(r"M\d+ ([\d.]+)V([\d.]+)", path)]
        assert len(bars) == sum(bool(getattr(period, name)) for period in periods)
        assert all(0 <= high <= low <= HEIGHT for low, high in bars)


def test_the_axis_of_time_says_utc_hours_and_days() -> None:
    """The last period contains the present, and labels are a round number of periods apart."""
    hours, days = Chart([Counts()] * HOURS, 3600, NOW_S), Chart([Counts()] * DAYS, 86_400, NOW_S)
    assert hours.rows[-1][0] == "Nov 27, 06:00"
    assert [tick[1:] for tick in hours.ticks][:2] == [("Nov 25", "07:00"), ("Nov 25", "19:00")]
    assert (days.rows[0][0], days.rows[-1][0]) == ("Aug 30", "Nov 27")
    assert [day for _, day, _ in days.ticks] == ["Aug 30", "Sep 14", "Sep 29", "Oct 14", "Oct 29", "Nov 13"]


def test_counts_on_an_axis_are_short() -> None:
    """A count takes five characters at most."""
    shown = {0: "0", 999: "999", 1000: "1k", 12_345: "12.3k", 10**6: "1M", 4 * 10**9: "4B", 999_999: "999k"}
    assert [short(count) for count in shown] == list(shown.values())
