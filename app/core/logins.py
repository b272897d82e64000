"""How many wrong passwords are accepted before every password is refused (docs/decisions/0012, 0020)."""

from __future__ import annotations

from enum import StrEnum, auto
from typing import NamedTuple, Protocol

from app.core.audit import Actor
from app.core.clients import networks_of
from app.core.limits import Limit, Refusal

WINDOW_S = 60
WRONG_PER_CLIENT = Limit(60, WINDOW_S)
# By prefix length. Even two networks together stay below WRONG_IN_ALL, so no customer locks out the others.
WRONG_PER_NETWORK = {"56": Limit(75, WINDOW_S), "48": Limit(90, WINDOW_S), "24": Limit(90, WINDOW_S)}
WRONG_IN_ALL = Limit(200, WINDOW_S)

# Clients that sent the right password recently; the guesses of others do not lock them out.
MAX_KNOWN = 20
KNOWN_S = 30 * 86_400
# How many wrong passwords they may send together while a limit is used up by other clients.
WRONG_OF_KNOWN = 60


class Login(StrEnum):
    """What became of an attempt to sign in; a throttled one may have had the right password."""

    ACCEPTED = auto()
    WRONG = auto()
    THROTTLED = auto()


class Scope(NamedTuple):
    """A client or network whose wrong passwords are counted, and its limit."""

    name: str
    limit: Limit


def scopes(client: str) -> list[Scope]:
    """Return every scope that *client* counts toward: itself, the networks around it, all clients."""
    networks = [Scope(name, WRONG_PER_NETWORK[name.rpartition("/")[2]]) for name in networks_of(client)]
    return [Scope(client, WRONG_PER_CLIENT), *networks, Scope("*", WRONG_IN_ALL)]


class Logins(Protocol):
    """Counts wrong passwords, over all workers and replicas."""

    def weigh(self, actor: Actor, client: str, *, is_right: bool) -> Refusal | None:
        """Count an attempt to sign in; a refusal means that *client* must not learn whether it was right.

        The first refusal of a client or network in a window is in the audit log, as one of *actor*.

        Raises StoreUnavailableError.
        """
        ...

    def reset(self) -> int:
        """Delete all wrong passwords and return how many there were; raises StoreUnavailableError."""
        ...
