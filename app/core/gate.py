"""The gate, which decides whether an attempt may pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from app.core import tokens
from app.core.peppers import Peppers
from app.core.restrictions import candidates
from app.core.verdicts import Attempt, Decision, Verdict


class Ledger(Protocol):
    """Reads a token's record, takes one permit from it and records the use, in one atomic step."""

    def take(self, digests: Sequence[str], candidates: Sequence[str]) -> Decision:
        """Take a permit of the first known of *digests* if it lists a candidate of each restriction.

        *candidates* has one text for each restriction, as from ``restrictions.candidates``.
        A token found under a previous pepper moves to the current one. Any exception means that there is no
        decision.
        """
        ...


class Gate:
    """Decides on attempts, with one call of the ledger or none."""

    def __init__(self, ledger: Ledger, peppers: Peppers, prefix: str) -> None:
        self._ledger = ledger
        self._peppers = peppers
        self._prefix = prefix

    def check(self, attempt: Attempt) -> Decision:
        """Return the decision; raise whatever the ledger raises.

        The ledger is called for a malformed host too, so that only the holder of a valid token gets a 403.
        """
        if attempt.fault is not None:
            return Decision(attempt.fault)
        if tokens.is_mistyped(attempt.secret, self._prefix):
            return Decision(Verdict.MISTYPED_TOKEN)
        return self._ledger.take(self._peppers.digests(attempt.secret), candidates(attempt))
