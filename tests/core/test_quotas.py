"""A quota and its calendar."""

from __future__ import annotations

import calendar
from datetime import UTC, datetime

import pytest

from app.core.moments import rfc3339
from app.core.quotas import Count, Quota, bounds, quota_at
from devkit.builders import NOW, make_token

DAY = Count(1_795_478_400, 1_795_564_800, 7)  # of NOW, which is on November 24, 2026
MONTH = Count(1_793_491_200, 1_796_083_200, 7)


@pytest.mark.parametrize(("year", "month"), [(2026, 11), (2026, 12), (2027, 2), (2028, 2), (2100, 2)])
def test_bounds(year: int, month: int) -> None:
    """A month has the days of the calendar, leap days included, and a day has 24 hours."""
    first = int(datetime(year, month, 1, tzinfo=UTC).timestamp())
    end = first + calendar.monthrange(year, month)[1] * 86_400

    assert {bounds("month", at) for at in (first, first + 1_000_000, end - 1)} == {(first, end)}
    assert {bounds("day", at) for at in (first, first + 86_399)} == {(first, first + 86_400)}
    assert bounds("month", end)[0] == end


@pytest.mark.parametrize(("period", "count"), [("day", DAY), ("month", MONTH)])
def test_remaining(period: str, count: Count) -> None:
    """What is used is what was counted in this period, and a new period starts with nothing."""
    starts_at, ends_at, used = count

    assert quota_at(10, period, count, NOW) == Quota(10, period, used, ends_at)
    assert quota_at(10, period, count, ends_at).used == 0
    assert quota_at(10, period, None, NOW) == Quota(10, period, 0, ends_at)
    assert quota_at(10, period, count, starts_at - 1) == Quota(10, period, used, ends_at)
    assert quota_at(10, period, count, 2 * starts_at - ends_at - 1).used == 0


def test_other_period() -> None:
    """A count of days is none of months, and the other way round."""
    assert quota_at(10, "month", DAY, NOW) == Quota(10, "month", 0, MONTH.ends_at)
    assert quota_at(10, "day", MONTH, NOW) == Quota(10, "day", 0, DAY.ends_at)


def test_lowered() -> None:
    """A quota that was lowered below what is used has nothing left, and not less."""
    assert quota_at(5, "day", DAY, NOW).described() == {
        "max": 5,
        "period": "day",
        "used": 7,
        "resets_at": rfc3339(DAY.ends_at),
        "remaining": 0,
    }


def test_token_without_a_quota() -> None:
    """A token has a quota if it has both a number and a period."""
    assert make_token(quota_max=10, quota_period="day", quota_used=DAY).quota(NOW)
    for fields in ({}, {"quota_max": 0, "quota_period": "day"}, {"quota_max": 10}, {"quota_period": "day"}):
        assert make_token(**fields).quota(NOW) is None
