"""All tokens at a glance (docs/decisions/0027)."""

from __future__ import annotations

from collections.abc import Sequence

from app.core.token_store import TokenStore
from app.core.tokens import Token
from app.core.totals import Totals, Use


class Overview:
    """Tells what all tokens add up to; each method raises StoreUnavailableError when it can't."""

    def __init__(self, store: TokenStore) -> None:
        self._store = store

    def totals(self) -> Totals | None:
        """Return what all tokens add up to, as of the last census; None before the first one."""
        return self._store.totals()

    def users(self, uses: Sequence[Use]) -> list[tuple[Token, Use]]:
        """Return *uses* with their tokens, without those that have ended or rotated since."""
        found = {token.digest: token for token in self._store.users(uses)}
        return [(found[use.digest], use) for use in uses if use.digest in found]
