"""How many bad tokens of one client are looked at before it is turned away for a while."""

from __future__ import annotations

from typing import Protocol

from app.core.gate import Verdict
from app.core.limits import Refusal

MAX_FAILURES = 1_000
MAX_FAILURES_WINDOW_S = 86_400
# Beyond as many at once, further ones are not counted.
MAX_CLIENTS = 10_000

COUNTED = frozenset(
    {
        Verdict.MALFORMED,
        Verdict.MISTYPED,
        Verdict.UNKNOWN,
        Verdict.EXPIRED,
        Verdict.DISABLED,
        Verdict.NOT_YET,
    }
)


class Failures(Protocol):
    """Remembers bad tokens by client."""

    def blocking(self, client: str) -> Refusal | None:
        """Return why *client* is to be turned away as far as this worker knows; asks nobody."""
        ...

    def note(self, client: str) -> Refusal | None:
        """Note a bad token; a refusal means that there were too many before it. Any exception: not noted."""
        ...
