"""Template filters."""

from __future__ import annotations

import pytest

from app.core.durations import distance
from app.core.moments import rfc3339
from app.web.filters import ago, capital, is_token_id, moment
from devkit.builders import NOW


def test_moment() -> None:
    """A time is shown relative to now and in UTC; a missing one as the given word."""
    assert moment(1_700_000_000, 1_700_000_090, "never") == (
        '1 minute ago <time class="aside" datetime="2023-11-14T22:13:20Z">2023-11-14 22:13 UTC</time>'
    )
    assert moment(None, 0, "unknown") == "unknown"


@pytest.mark.parametrize("ahead", [0, 1, 59])
def test_past_events_are_not_in_the_future(ahead: int) -> None:
    """A past event never appears to be in the future; a large clock difference is pointed out."""
    assert ago(NOW + ahead, NOW, "never").startswith("less than a minute ago")
    assert ago(NOW + 3600, NOW, "never").startswith("by a clock ahead of this one,")
    assert ago(None, NOW, "never") == "never"


@pytest.mark.parametrize("seconds", [10**12, 10**20, 10**400])
def test_moment_beyond_the_calendar(seconds: int) -> None:
    """A time beyond the calendar is shown relative to now only."""
    assert moment(seconds, 0, "never") == distance(seconds)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (-62_135_596_800, "0001-01-01T00:00:00Z"),
        (-62_135_683_140, "0001-01-01T00:00:00Z"),
        (253_402_387_139, "9999-12-31T23:59:59Z"),
        (10**400, "9999-12-31T23:59:59Z"),
        (None, ""),
    ],
)
def test_rfc3339(seconds: int | None, text: str) -> None:
    """Every time is formatted as RFC 3339 with a four-digit year, and can be parsed again."""
    assert rfc3339(seconds) == text


def test_capital() -> None:
    """The first letter of a sentence is capitalized, and nothing else."""
    assert [capital(text) for text in ("not a Host", "", "'x'", "é")] == ["Not a Host", "", "'x'", "É"]


@pytest.mark.parametrize(
    ("text", "looks"),
    [("1m85v745vvbyf6sq", True), ("1M85V745VVBYF6SQ", False), ("1m85v745vvbyf6sq\n", False), (None, False)],
)
def test_token_id(text: str | None, *, looks: bool) -> None:
    """Only text of the form of an id is recognized as one."""
    assert is_token_id(text) is looks
