"""The decision: may this attempt pass?"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple, Protocol

from app.core import tokens
from app.core.hosts import covering_patterns
from app.core.limits import Refusal
from app.core.peppers import Peppers


class Verdict(StrEnum):
    """Every way an attempt can end; also the word in logs and metrics."""

    ALLOWED = "allowed"
    NO_CREDENTIAL = "no_credential"
    MALFORMED = "malformed_credential"
    MISTYPED = "mistyped_token"
    UNKNOWN = "unknown_token"
    EXPIRED = "expired_token"
    DISABLED = "disabled_token"
    NOT_YET = "token_not_yet_valid"
    WRONG_HOST = "wrong_host"
    RATE_LIMITED = "rate_limited"
    THROTTLED = "throttled_client"
    UNAVAILABLE = "unavailable"


class Attempt(NamedTuple):
    """What a client presented: a well-formed token or the fault in it, and the host it asked for."""

    token: str
    host: str | None
    fault: Verdict | None = None


class Identity(NamedTuple):
    """Whose token it is; bytes, because an older deployment may have stored any."""

    token_id: bytes
    email: bytes
    comment: bytes


class Decision(NamedTuple):
    """A verdict; *identity* from a known token, *refusal* from one over its limit."""

    verdict: Verdict
    identity: Identity | None = None
    refusal: Refusal | None = None


class Ledger(Protocol):
    """Reads a token's record, takes one permit from it and notes the use, as one act."""

    def take(self, digests: Sequence[str], patterns: Sequence[str]) -> Decision:
        """Take a permit of the first known of *digests* if it lists one of *patterns*.

        A token found under a previous pepper moves to the current one. Any exception means no decision.
        """
        ...


class Gate:
    """Turns an attempt into a decision, asking the ledger once or not at all."""

    def __init__(self, ledger: Ledger, peppers: Peppers, prefix: str) -> None:
        self._ledger = ledger
        self._peppers = peppers
        self._prefix = prefix

    def check(self, attempt: Attempt) -> Decision:
        """Decide; a host that is no host is still asked about, so that only a valid token hears 403."""
        if attempt.fault is not None:
            return Decision(attempt.fault)
        if tokens.is_mistyped(attempt.token, self._prefix):
            return Decision(Verdict.MISTYPED)
        return self._ledger.take(self._peppers.digests(attempt.token), covering_patterns(attempt.host))
