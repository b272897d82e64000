"""From a token's text to the digests that may name its record."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from hashlib import sha256


@dataclass(frozen=True)
class Peppers:
    """The service's secret, and those it replaced: the current one names new records, all find old ones."""

    current: str = field(repr=False)
    previous: tuple[str, ...] = field(default=(), repr=False)

    def digest(self, token: str) -> str:
        """Return ``SHA-256(token + current pepper)`` as 64 lower-case hex digits."""
        return _digest(token, self.current)

    def digests(self, token: str) -> tuple[str, ...]:
        """Return the digest under each pepper, the current one first."""
        return (self.digest(token), *(_digest(token, pepper) for pepper in self.previous))

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """Return what tells peppers apart and gives none away, the current one's first."""
        return tuple(map(_fingerprint, (self.current, *self.previous)))


def _digest(token: str, pepper: str) -> str:
    return sha256((token + pepper).encode()).hexdigest()


def _fingerprint(pepper: str) -> str:
    return hmac.new(pepper.encode(), b"acl-auth-service", sha256).hexdigest()[:16]
