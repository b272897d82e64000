"""From a token's text to the digest that names its record."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256


@dataclass(frozen=True)
class Pepper:
    """The service's secret, without which a stolen database names no token."""

    secret: str = field(repr=False)

    def digest(self, token: str) -> str:
        """Return ``SHA-256(token + pepper)`` as 64 lower-case hex digits."""
        return sha256((token + self.secret).encode()).hexdigest()
