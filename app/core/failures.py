"""How many bad tokens a client may send before it is throttled (docs/decisions/0012 and 0020)."""

from __future__ import annotations

from typing import Protocol

from app.core.limits import Refusal
from app.core.verdicts import Verdict

MAX_FAILURES = 1_000
MAX_FAILURES_WINDOW_S = 86_400
# Clients beyond this number share one counter.
MAX_CLIENTS = 10_000
# The limit of a network as a multiple of a client's, by prefix length.
NETWORK_FACTORS = {"56": 4, "48": 8, "24": 8}

COUNTED = frozenset(
    {
        Verdict.MALFORMED_CREDENTIAL,
        Verdict.MISTYPED_TOKEN,
        Verdict.UNKNOWN_TOKEN,
        Verdict.EXPIRED_TOKEN,
        Verdict.DISABLED_TOKEN,
        Verdict.TOKEN_NOT_YET_VALID,
    }
)


def network_limit(network: str, of_client: int) -> int:
    """Return how many bad tokens *network* may send if one client may send *of_client*."""
    return NETWORK_FACTORS[network.rpartition("/")[2]] * of_client


def is_one_customers(network: str) -> bool:
    """Tell whether *network* belongs to one customer and is blocked as a whole; an IPv4 /24 does not."""
    return ":" in network


class Failures(Protocol):
    """Counts bad tokens by client."""

    def blocking(self, client: str) -> Refusal | None:
        """Return the refusal if this worker knows that *client* or its network is blocked, else None."""
        ...

    def note(self, client: str) -> Refusal | None:
        """Count a bad token and return a refusal if too many came before it.

        Any exception means that it was not counted.
        """
        ...
