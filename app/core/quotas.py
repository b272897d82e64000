"""A quota: so many requests per calendar day or month, in UTC (docs/decisions/0024)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from app.core.moments import rfc3339

DAY, MONTH = "day", "month"
PERIODS = (DAY, MONTH)
MAX_REQUESTS = 10**12

_DAY_S = 86_400
_LONGEST_MONTH = timedelta(days=31)


class Count(NamedTuple):
    """How many requests were admitted from *starts_at* until before *ends_at*, in seconds since the epoch."""

    starts_at: int
    ends_at: int
    admitted: int

    def is_of(self, period: str, now_s: int) -> bool:
        """Return whether this is the count that take.lua continues at *now_s*.

        After the clock was set back by less than a period, it is the count of the period that comes next.
        """
        length_s = self.ends_at - self.starts_at
        return (period == DAY) == (length_s == _DAY_S) and self.starts_at - length_s <= now_s < self.ends_at


@dataclass(frozen=True, slots=True)
class Quota:
    """A quota and how much of it is used in the period that ends at *resets_at*, seconds since the epoch."""

    max: int
    period: str
    used: int
    resets_at: int

    @property
    def remaining(self) -> int:
        """The requests that are left; none if the quota was lowered below what is used."""
        return max(0, self.max - self.used)

    def described(self) -> dict[str, Any]:
        """Return everything that a program may see of the quota, as JSON has it."""
        return asdict(self) | {"remaining": self.remaining, "resets_at": rfc3339(self.resets_at)}


def quota_at(max_requests: int, period: str, count: Count | None, now_s: int) -> Quota:
    """Return the quota of *max_requests* per *period* at *now_s*, of which *count* is used."""
    if count and count.is_of(period, now_s):
        return Quota(max_requests, period, count.admitted, count.ends_at)
    return Quota(max_requests, period, 0, bounds(period, now_s)[1])


def bounds(period: str, now_s: int) -> tuple[int, int]:
    """Return the first second of the calendar period of *now_s*, and that of the next one."""
    midnight = datetime.fromtimestamp(now_s - now_s % _DAY_S, UTC)
    if period == DAY:
        return int(midnight.timestamp()), int(midnight.timestamp()) + _DAY_S
    first = midnight.replace(day=1)
    return int(first.timestamp()), int((first + _LONGEST_MONTH).replace(day=1).timestamp())
