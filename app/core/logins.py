"""How many wrong passwords are answered before all passwords are refused for a while."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from app.core.clients import networks_of
from app.core.limits import Limit, Refusal

WINDOW_S = 60
WRONG_PER_CLIENT = Limit(60, WINDOW_S)
# By length of the prefix. Two of the widest do not reach the limit in all: no customer shuts out the others.
WRONG_PER_NETWORK = {"56": Limit(75, WINDOW_S), "48": Limit(90, WINDOW_S), "24": Limit(90, WINDOW_S)}
WRONG_IN_ALL = Limit(200, WINDOW_S)

# Clients that gave the right password lately; what others did does not shut them out.
MAX_KNOWN = 20
KNOWN_S = 30 * 86_400
# As many wrong ones all of them may send when others have used up a limit, each within its own.
WRONG_OF_KNOWN = 60


class Scope(NamedTuple):
    """What wrong passwords are counted for, and how many it may have."""

    name: str
    limit: Limit


def scopes(client: str) -> list[Scope]:
    """Return all that *client* is counted under: itself, the networks around it, everybody."""
    networks = [Scope(name, WRONG_PER_NETWORK[name.rpartition("/")[2]]) for name in networks_of(client)]
    return [Scope(client, WRONG_PER_CLIENT), *networks, Scope("*", WRONG_IN_ALL)]


class Logins(Protocol):
    """Remembers wrong passwords."""

    def weigh(self, client: str, *, is_right: bool) -> Refusal | None:
        """Note what *client* typed; a refusal means that it may not even hear whether that was right.

        Raises StoreUnavailableError.
        """
        ...

    def reset(self) -> int:
        """Forget all wrong passwords and return how many there were; raises StoreUnavailableError."""
        ...
