"""A limit (docs/decisions/0003 and 0024), and the refusal of a client that reached it."""

from __future__ import annotations

from dataclasses import dataclass

from app.core import durations
from app.core.text import counted

MAX_REQUESTS = 10_000
MAX_WINDOW_S = 86_400 * 31

RATE, QUOTA = "default", "quota"

_MICROSECONDS = 1_000_000


@dataclass(frozen=True, slots=True)
class Limit:
    """At most *max_requests* in any *window_s* seconds; 0 requests means unlimited.

    *name* is the limit's name in RateLimit-Policy. The window of a quota is its calendar period.
    """

    max_requests: int
    window_s: int
    name: str = RATE

    def __str__(self) -> str:
        window = durations.in_words(self.window_s).removeprefix("1 ")
        return f"{counted(self.max_requests, 'request')} per {window}" if self.max_requests else "unlimited"

    def of(self, max_requests: int | None, window_s: int | None) -> Limit:
        """Return the limit of a token, which has this one where its own figures are None."""
        most = self.max_requests if max_requests is None else max_requests
        return Limit(most, window_s or self.window_s)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A limit that was reached, and the microseconds until one more request is admitted.

    *other* is the second limit of a token that has both a rate limit and a quota. It may be used up, too, and
    then *wait_us* is the longer wait of the two.
    """

    limit: Limit
    wait_us: int
    other: Limit | None = None

    @property
    def retry_after_s(self) -> int:
        """Return the whole seconds to wait: at least 1, and the smallest number that is enough."""
        return max(1, -(-self.wait_us // _MICROSECONDS))

    @property
    def policies(self) -> list[Limit]:
        """Every limit of the token, the rate limit first."""
        return sorted(filter(None, (self.limit, self.other)), key=lambda limit: limit.name != RATE)
