"""Usage counters of a token by hour and day, and the verdicts that each one counts (docs/decisions/0006)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from app.core.moments import rfc3339
from app.core.verdicts import Verdict

HOURS = 48
DAYS = 90
_HOUR_S, _DAY_S = 3600, 86_400


class Counts(NamedTuple):
    """The requests of one hour or day, in the order of the stored counters."""

    allowed: int = 0
    wrong_host: int = 0
    rate_limited: int = 0
    inactive: int = 0

    @property
    def total(self) -> int:
        """Return the number of all requests, allowed or refused."""
        return sum(self)

    @property
    def refused(self) -> int:
        """Return the number of refused requests."""
        return self.total - self.allowed


class Counter(NamedTuple):
    """The verdicts that add to one number of Counts, and its label on a page."""

    verdicts: tuple[Verdict, ...]
    label: str


# take.lua has the same assignment, and a test compares the two for every verdict.
COUNTERS: Mapping[str, Counter] = {
    "allowed": Counter((Verdict.ALLOWED,), "allowed"),
    "wrong_host": Counter(
        (Verdict.WRONG_HOST, Verdict.WRONG_METHOD, Verdict.WRONG_PATH, Verdict.WRONG_NETWORK),
        "outside its restrictions",
    ),
    "rate_limited": Counter((Verdict.RATE_LIMITED, Verdict.QUOTA_EXCEEDED), "over a limit"),
    "inactive": Counter((Verdict.DISABLED_TOKEN, Verdict.TOKEN_NOT_YET_VALID), "while it was off"),
}


@dataclass(frozen=True, slots=True)
class Usage:
    """The last 48 hours and the last 90 days (UTC), oldest first; the last of each is the current one."""

    hours: tuple[Counts, ...] = (Counts(),) * HOURS
    days: tuple[Counts, ...] = (Counts(),) * DAYS

    @property
    def last_24_hours(self) -> Counts:
        """Return the sum of the last 24 hours."""
        return total(self.hours[-24:])

    def described(self, now_s: int) -> dict[str, Any]:
        """Return what programs may see of the usage, which was read at *now_s*."""
        return {
            "last_24_hours": self.last_24_hours._asdict(),
            "last_90_days": total(self.days)._asdict(),
            "hours": _described(self.hours, now_s, _HOUR_S),
            "days": _described(self.days, now_s, _DAY_S),
        }


def _described(counts: Sequence[Counts], now_s: int, length_s: int) -> list[dict[str, Any]]:
    """Return the counts of consecutive periods, of which the last contains *now_s*."""
    first = now_s // length_s - len(counts) + 1
    return [
        {"start": rfc3339((first + number) * length_s), "refused": each.refused, **each._asdict()}
        for number, each in enumerate(counts)
    ]


def total(counts: Iterable[Counts]) -> Counts:
    """Return the sum of *counts*."""
    return Counts(*map(sum, zip(*counts, strict=True)))
