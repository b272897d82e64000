"""Compute the digests under which the token of a secret may be stored."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from hashlib import sha256


@dataclass(frozen=True)
class Peppers:
    """The current pepper, which names new records, and previous ones, under which older records are found."""

    current: str = field(repr=False)
    previous: tuple[str, ...] = field(default=(), repr=False)

    def digest(self, secret: str) -> str:
        """Return ``SHA-256(secret + current pepper)`` as 64 lower-case hex digits."""
        return _digest(secret, self.current)

    def digests(self, secret: str) -> tuple[str, ...]:
        """Return the digest under each pepper, the current one first."""
        return (self.digest(secret), *(_digest(secret, pepper) for pepper in self.previous))

    def seals(self, text: str) -> tuple[str, ...]:
        """Return a keyed SHA-256 of *text* under each pepper, the current one first."""
        return tuple(_seal(text, pepper) for pepper in (self.current, *self.previous))

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """Return a one-way fingerprint of each pepper, the current one's first."""
        return tuple(map(_fingerprint, (self.current, *self.previous)))


def _digest(secret: str, pepper: str) -> str:
    return sha256((secret + pepper).encode()).hexdigest()


def _seal(text: str, pepper: str) -> str:
    return hmac.new(pepper.encode(), text.encode(), sha256).hexdigest()


def _fingerprint(pepper: str) -> str:
    return hmac.new(pepper.encode(), b"acl-auth-service", sha256).hexdigest()[:16]
