"""The results of changing a token."""

from __future__ import annotations

from dataclasses import dataclass, field

from app.core.durability import Durability
from app.core.tokens import Token


@dataclass(frozen=True, slots=True)
class Change:
    """A token as a change left it, the time of the change, and whether a crash of Redis may undo it."""

    token: Token
    changed_at: int  # seconds since the epoch
    durability: Durability


@dataclass(frozen=True, slots=True)
class Issued(Change):
    """A change that gave the token a new secret, which is stored nowhere."""

    secret: str = field(repr=False)
