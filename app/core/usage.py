"""How often a token was used."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

HOURS = 48
DAYS = 90


@dataclass(frozen=True, slots=True)
class Counts:
    """Requests of one hour or day, by what became of them."""

    allowed: int = 0
    wrong_host: int = 0
    rate_limited: int = 0
    inactive: int = 0

    @property
    def refused(self) -> int:
        """How many were refused, for whatever reason."""
        return self.wrong_host + self.rate_limited + self.inactive


@dataclass(frozen=True, slots=True)
class Usage:
    """The last 48 hours and the last 90 days (UTC), oldest first; the last of each is the current one."""

    hours: tuple[Counts, ...] = (Counts(),) * HOURS
    days: tuple[Counts, ...] = (Counts(),) * DAYS


def total(counts: Iterable[Counts]) -> Counts:
    """Return the sum of *counts*."""
    columns = zip(*((c.allowed, c.wrong_host, c.rate_limited, c.inactive) for c in counts), strict=True)
    return Counts(*map(sum, columns))
