"""Durations that people write and read."""

from __future__ import annotations

import pytest

from app.core.durations import distance, in_words, parse

DAY = 86_400
YEAR = 31_557_600


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30d", 30 * DAY),
        ("1h30m", 5400),
        ("2w", 14 * DAY),
        ("1w2d3h4m5s", 9 * DAY + 3 * 3600 + 245),
        ("90m", 5400),
        ("3600", 3600),
        ("0", 0),
        ("0h", 0),
        ("999999999999d", 999_999_999_999 * DAY),
    ],
)
def test_parse(text: str, seconds: int) -> None:
    """Units go from weeks to seconds, each once at most; a plain number is seconds."""
    assert parse(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "d", "-1d", "+1d", "1.5h", "1M", "1D", "30m1h", "1h1h", "1y", "1h 30m", "1h30", "never"),
        *("\u0663d", "1d\n", "9" * 13, "1_0", "1e3", "\x1b[31m"),
    ],
)
def test_parse_anything_else(text: str) -> None:
    """Anything else is refused, with an example and without a control character of the input."""
    with pytest.raises(ValueError, match="a duration such as 30d") as error:
        parse(text)

    assert str(error.value).isprintable()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "less than a minute ago"),
        (-59, "less than a minute ago"),
        (-60, "1 minute ago"),
        (-119, "1 minute ago"),
        (-120, "2 minutes ago"),
        (-7199, "119 minutes ago"),
        (-7200, "2 hours ago"),
        (1 - 2 * DAY, "47 hours ago"),
        (1, "in 1 second"),
        (119, "in 119 seconds"),
        (120, "in 2 minutes"),
        (7200, "in 2 hours"),
        (2 * DAY - 1, "in 48 hours"),
        (30 * DAY - 40, "in 30 days"),
        (730 * DAY, "in 730 days"),
        (2 * YEAR, "in 2 years"),
        (23_409 * DAY, "in 64 years"),
        (-23_409 * DAY, "64 years ago"),
        (-(10**40), f"{10**40 // YEAR} years ago"),
    ],
)
def test_distance(seconds: int, words: str) -> None:
    """The largest unit that fits twice is used; the future is rounded and the past truncated."""
    assert distance(seconds) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (1, "1 second"),
        (90, "90 seconds"),
        (3600, "1 hour"),
        (90_000, "25 hours"),
        (30 * DAY, "30 days"),
        (900 * DAY, "900 days"),
    ],
)
def test_in_words(seconds: int, words: str) -> None:
    """A duration is exact."""
    assert in_words(seconds) == words
