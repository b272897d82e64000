"""Decide on a request that nobody sent, spending nothing."""

from __future__ import annotations

from collections.abc import Mapping

from app.core.catalog import Catalog
from app.core.errors import NoSuchTokenError
from app.core.gate import Gate, Ledger
from app.core.restrictions import RESTRICTIONS, candidates
from app.core.verdicts import Attempt, Decision, Verdict

# The field of a token that refuses, by verdict.
REFUSING: Mapping[Verdict, str] = {
    Verdict.EXPIRED_TOKEN: "expires_at",
    Verdict.DISABLED_TOKEN: "enabled",
    Verdict.TOKEN_NOT_YET_VALID: "not_before",
    **{restriction.verdict: restriction.field for restriction in RESTRICTIONS},
    Verdict.RATE_LIMITED: "rate_limit_max",
    Verdict.QUOTA_EXCEEDED: "quota_max",
}


class Trials:
    """Decides with the code of the gate and a *ledger* that writes nothing.

    Each method raises StoreUnavailableError when there would be no decision.
    """

    def __init__(self, gate: Gate, ledger: Ledger, catalog: Catalog) -> None:
        self._gate = gate
        self._ledger = ledger
        self._catalog = catalog

    def with_secret(self, attempt: Attempt) -> Decision:
        """Return the decision on *attempt*."""
        return self._gate.check(attempt)

    def of_token(self, name: str, attempt: Attempt) -> Decision:
        """Return the decision on *attempt* as if its secret were that of the token *name*, an id or a digest.

        That token may have ended. Raises NoSuchTokenError, and ConflictError if several tokens have that id.
        """
        return self._ledger.take([self._digest_of(name)], candidates(attempt))

    def _digest_of(self, name: str) -> str:
        try:
            return self._catalog.find_public(name).digest
        except NoSuchTokenError as error:
            if error.digest:
                return error.digest
            raise
