"""A token in the hands of whoever has one of its secrets."""

from __future__ import annotations

from typing import NamedTuple

from app.core.tokens import Token


class Held(NamedTuple):
    """A token and the *digests* of the secret that opened it, under the current pepper first."""

    token: Token
    digests: tuple[str, ...]

    @property
    def is_replaced(self) -> bool:
        """Return whether a rotation replaced the secret, which is valid for the rest of its grace period."""
        return self.token.digest not in self.digests
