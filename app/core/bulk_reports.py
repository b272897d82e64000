"""What became of each of many tokens."""

from __future__ import annotations

from dataclasses import dataclass, field

from app.core.durability import Durability
from app.core.tokens import Token

NAMED = 100


@dataclass(slots=True)
class Names:
    """The first NAMED of some tokens, each with what is said of it, and how many there are."""

    first: list[tuple[Token | str, str]] = field(default_factory=list)
    count: int = 0

    def add(self, token: Token | str, said: str = "") -> None:
        """Add a token, or a name that no token has."""
        self.count += 1
        if self.count <= NAMED:
            self.first.append((token, said))


@dataclass(slots=True)
class Report:
    """What became of each token.

    *more* is where to go on, and *left* how many tokens there are to look at. *reason* is why this stopped
    early, "" if it did not. *names* are the digests of tokens that were named.
    """

    done: Names = field(default_factory=Names)
    needless: Names = field(default_factory=Names)
    managed: Names = field(default_factory=Names)
    failed: Names = field(default_factory=Names)
    durability: Durability = Durability.CONFIRMED
    more: str | None = None
    left: int = 0
    reason: str = ""
    names: list[str] = field(default_factory=list)
