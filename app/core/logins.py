"""How many wrong passwords a client may send before every password is refused (decisions 0012 and 0020)."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from app.core.clients import networks_of
from app.core.limits import Limit, Refusal

WINDOW_S = 60
WRONG_PER_CLIENT = Limit(60, WINDOW_S)
# By length of the prefix. Two of the widest stay below the limit for all, so no customer locks out others.
WRONG_PER_NETWORK = {"56": Limit(75, WINDOW_S), "48": Limit(90, WINDOW_S), "24": Limit(90, WINDOW_S)}
WRONG_IN_ALL = Limit(200, WINDOW_S)

# Clients that recently sent the right password are not locked out by others.
MAX_KNOWN = 20
KNOWN_S = 30 * 86_400
# What all of them together may still get wrong when others have used up a limit, each within its own limit.
WRONG_OF_KNOWN = 60


class Scope(NamedTuple):
    """A client, a network or all clients, and the limit of wrong passwords for it."""

    name: str
    limit: Limit


def scopes(client: str) -> list[Scope]:
    """Return every scope in which *client* is counted: itself, the networks around it, all clients."""
    networks = [Scope(name, WRONG_PER_NETWORK[name.rpartition("/")[2]]) for name in networks_of(client)]
    return [Scope(client, WRONG_PER_CLIENT), *networks, Scope("*", WRONG_IN_ALL)]


class Logins(Protocol):
    """Counts wrong passwords."""

    def weigh(self, client: str, *, is_right: bool) -> Refusal | None:
        """Count an attempt of *client*; a refusal means that the answer must not show whether it was right.

        Raises StoreUnavailableError.
        """
        ...

    def reset(self) -> int:
        """Delete all wrong passwords and return how many there were; raises StoreUnavailableError."""
        ...
