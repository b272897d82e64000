"""A rate limit (docs/decisions/0003), and the refusal of a client that reached it."""

from __future__ import annotations

from dataclasses import dataclass

MAX_REQUESTS = 10_000
MAX_WINDOW_S = 86_400 * 31

_MICROSECONDS = 1_000_000


@dataclass(frozen=True, slots=True)
class Limit:
    """At most *max_requests* in any *window_s* seconds; 0 requests means unlimited."""

    max_requests: int
    window_s: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """A limit that was reached, and the microseconds until it admits one more request."""

    limit: Limit
    wait_us: int

    @property
    def retry_after_s(self) -> int:
        """Return the whole seconds to wait: at least 1, and the smallest number that is enough."""
        return max(1, -(-self.wait_us // _MICROSECONDS))
