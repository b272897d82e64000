"""Decisions that spend nothing and write nothing."""

from __future__ import annotations

from collections.abc import Sequence

from app.core.restrictions import RESTRICTIONS
from app.core.verdicts import Decision
from app.store.ledger import RedisLedger

# The default limit, the candidates of each restriction, and the id that a redirect expects.
_ARGS = 2 + len(RESTRICTIONS) + 1


class PreviewLedger(RedisLedger):
    """Decides with ``take.lua`` as RedisLedger does, from the current state, and leaves no trace."""

    def _ask(self, digest: str, args: Sequence[str | int]) -> Decision | tuple[str, str]:
        """Return the decision on *digest*, or the digest to which its record moved and the token's id."""
        return super()._ask(digest, [*args, *[""] * (_ARGS - len(args)), "preview"])

    def _settle(self, token_id: bytes, found: str, current: str) -> None:
        """Move no token to another pepper."""
