"""Points in time as people and programs write them: RFC 3339 or a part of it."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta

_MONTHS = {28: "0[1-9]|1[0-2]", 30: "0[13-9]|1[0-2]", 31: "0[13578]|1[02]"}
_DAYS = {28: "0[1-9]|1[0-9]|2[0-8]", 30: "29|30", 31: "31"}
_MONTH_AND_DAY = "|".join(f"(?:{_MONTHS[last]})-(?:{_DAYS[last]})" for last in _DAYS)
_YEAR = "(?:000[1-9]|00[1-9][0-9]|0[1-9][0-9]{2}|[1-9][0-9]{3})"
_FOURTHS = "0[48]|[2468][048]|[13579][26]"
_LEAP_YEAR = f"(?:[0-9]{{2}}(?:{_FOURTHS})|(?:{_FOURTHS})00)"
_TIME = "(?:[01][0-9]|2[0-3]):[0-5][0-9](?::(?:[0-5][0-9]|60)(?:[.][0-9]+)?)?"
_CLOCK = f"(?:[Tt ]{_TIME}(?:[Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])?)?"

EXAMPLE = "2030-01-31T18:00:00Z"
MOMENT = f"(?:{_YEAR}-(?:{_MONTH_AND_DAY})|{_LEAP_YEAR}-02-29){_CLOCK}"

_MOMENT = re.compile(MOMENT)
_FRACTION = re.compile("[.][0-9]+")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EARLIEST, _LATEST = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


def parse(text: str) -> int:
    """Return the seconds since the epoch; without a zone the time is UTC, without a time it is midnight.

    Raises ValueError.
    """
    if not _MOMENT.fullmatch(text):
        raise ValueError(f"a moment such as {EXAMPLE}, not {text!r}")
    plain = _FRACTION.sub("", text.upper())
    is_leap = plain[16:19] == ":60"  # a leap second: the one after :59, on whatever day
    at = datetime.fromisoformat(plain[:16] + ":59" + plain[19:] if is_leap else plain)
    return ((at if at.tzinfo else at.replace(tzinfo=UTC)) - _EPOCH) // timedelta(seconds=1) + is_leap


def parse_ms(text: str) -> int:
    """Return the milliseconds since the epoch of a moment, as ``parse`` does."""
    fraction = _FRACTION.search(text)
    return parse(text) * 1000 + (int(fraction[0][1:4].ljust(3, "0")) if fraction else 0)


def rfc3339(seconds: int | None, milliseconds: int | None = None) -> str:
    """Return a time in the format of RFC 3339, limited to the years 1 to 9999, or "" for None."""
    if seconds is None:
        return ""
    fraction = "" if milliseconds is None else f".{milliseconds:03}"
    try:
        at = datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):  # outside those years, as other programs may have stored
        at = _LATEST if seconds > 0 else _EARLIEST
    return at.strftime(f"{at.year:04}-%m-%dT%H:%M:%S{fraction}Z")  # %Y has three digits for the year 999


def to_the_minute(seconds: int) -> str:
    """Return a time such as ``2030-01-31 18:00 UTC``, or "" outside the years 1 to 9999."""
    try:
        at = datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return ""
    return at.strftime(f"{at.year:04}-%m-%d %H:%M UTC")


def within(days: int, today: date) -> str:
    """Return a regular expression for times after *today* and within *days* of it, in every time zone.

    If that is no whole day, it matches every time.
    """
    first, last = today + timedelta(days=2), today + timedelta(days=days - 2)
    span = [first + timedelta(days=more) for more in range((last - first).days + 1)]
    years = [f"{year}" for year in range(first.year + 1, last.year)]
    dates = [f"{day}" for day in span if day.year in {first.year, last.year}]
    dates += [f"(?:{'|'.join(years)})-(?:{_MONTH_AND_DAY})"] if years else []
    dates += [f"{day}" for day in span if f"{day.year}" in years and (day.month, day.day) == (2, 29)]
    return f"(?:{'|'.join(dates)}){_CLOCK}" if dates else MOMENT
