"""Attempts, decisions, and the table of verdicts (docs/decisions/0023)."""

from __future__ import annotations

from enum import StrEnum, auto
from typing import NamedTuple

from app.core.ended import Ending
from app.core.limits import Refusal


class Verdict(StrEnum):
    """The verdicts on an attempt, with the same names in Lua, logs, metrics and usage counters."""

    ALLOWED = auto()
    NO_CREDENTIAL = auto()
    MALFORMED_CREDENTIAL = auto()
    MISTYPED_TOKEN = auto()
    UNKNOWN_TOKEN = auto()
    EXPIRED_TOKEN = auto()
    DISABLED_TOKEN = auto()
    TOKEN_NOT_YET_VALID = auto()
    WRONG_HOST = auto()
    WRONG_METHOD = auto()
    WRONG_PATH = auto()
    WRONG_NETWORK = auto()
    RATE_LIMITED = auto()
    QUOTA_EXCEEDED = auto()
    THROTTLED_CLIENT = auto()
    UNAVAILABLE = auto()


class Attempt(NamedTuple):
    """What a client presented: a well-formed secret or the fault in it, and what it requested from where.

    The host, the method and the URI are as the proxy sent them, None if it did not. *address* is that of
    the client in canonical form, None if it is not known.
    """

    secret: str
    host: str | None
    fault: Verdict | None = None
    method: str | None = None
    uri: str | None = None
    address: str | None = None


class Identity(NamedTuple):
    """Identifies a token to a backend, in bytes, because an older deployment may have stored anything."""

    token_id: bytes
    email: bytes
    comment: bytes


class Decision(NamedTuple):
    """A verdict, with the *identity* of a known token and the *refusal* of one over its limit.

    An unknown token has both an identity and an *ending*, for the log alone, if it was deleted or replaced.
    """

    verdict: Verdict
    identity: Identity | None = None
    refusal: Refusal | None = None
    ending: Ending | None = None
