"""The decision: may this attempt pass?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from app.core import tokens
from app.core.hosts import covering_patterns
from app.core.limits import Refusal
from app.core.peppers import Pepper


class Verdict(StrEnum):
    """Every way an attempt can end; also the word in logs and metrics."""

    ALLOWED = "allowed"
    NO_CREDENTIAL = "no_credential"
    MALFORMED = "malformed_credential"
    MISTYPED = "mistyped_token"
    UNKNOWN = "unknown_token"
    DISABLED = "disabled_token"
    WRONG_HOST = "wrong_host"
    RATE_LIMITED = "rate_limited"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True)
class Attempt:
    """What a client presented: a well-formed token or the fault in it, and the host it asked for."""

    token: str
    host: str | None
    fault: Verdict | None = None


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose token it is; bytes, because an older deployment may have stored any."""

    token_id: bytes
    email: bytes
    comment: bytes


@dataclass(frozen=True, slots=True)
class Decision:
    """A verdict; *identity* from a known token, *refusal* from one over its limit."""

    verdict: Verdict
    identity: Identity | None = None
    refusal: Refusal | None = None


class Ledger(Protocol):
    """Reads a token's record and takes one permit from it, as one act."""

    def take(self, digest: str, patterns: Sequence[str]) -> Decision:
        """Take a permit if the token lists one of *patterns*; any exception means no decision."""
        ...


class Gate:
    """Turns an attempt into a decision, asking the ledger once or not at all."""

    def __init__(self, ledger: Ledger, pepper: Pepper, prefix: str) -> None:
        self._ledger = ledger
        self._pepper = pepper
        self._prefix = prefix

    def check(self, attempt: Attempt) -> Decision:
        """Decide; a host that is no host is still asked about, so that only a valid token hears 403."""
        if attempt.fault is not None:
            return Decision(attempt.fault)
        if tokens.is_mistyped(attempt.token, self._prefix):
            return Decision(Verdict.MISTYPED)
        return self._ledger.take(self._pepper.digest(attempt.token), covering_patterns(attempt.host))
