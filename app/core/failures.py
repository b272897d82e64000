"""How many bad tokens of one client are looked at before it is turned away for a while."""

from __future__ import annotations

from typing import Protocol

from app.core.limits import Refusal
from app.core.verdicts import Verdict

MAX_FAILURES = 1_000
MAX_FAILURES_WINDOW_S = 86_400
# Beyond as many at once, all further ones are counted as one.
MAX_CLIENTS = 10_000
# How many times what a client may send the networks around it may, by length of their prefixes.
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
    """Return how many bad tokens *network* may send, if a client in it may send *of_client*."""
    return NETWORK_FACTORS[network.rpartition("/")[2]] * of_client


def is_one_customers(network: str) -> bool:
    """Tell whether all of *network* waits where bad tokens came from: an IPv4 /24 is many people's."""
    return ":" in network


class Failures(Protocol):
    """Remembers bad tokens by client."""

    def blocking(self, client: str) -> Refusal | None:
        """Return why *client*, or its network, is turned away as far as this worker knows; asks nobody."""
        ...

    def note(self, client: str) -> Refusal | None:
        """Note a bad token; a refusal means that there were too many before it. Any exception: not noted."""
        ...
