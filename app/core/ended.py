"""Tokens that have ended, which are remembered for a while and open nothing (docs/decisions/0025)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum, auto
from typing import Any

from app.core.moments import rfc3339

REMEMBERED_DAYS = 30
# Beyond this number, those that ended first are forgotten earlier.
MAX_ENDED = 10_000
# Where the list continues: the score and the beginning of an entry, which may no longer exist.
CURSOR = re.compile(r"[0-9]{1,10}(?:\.[0-9]{1,17})?-(?:[0-9a-f]{2}){0,48}", re.ASCII)


class Ending(StrEnum):
    """How a token, or one of its secrets, ended."""

    EXPIRED = auto()
    DELETED = auto()
    REPLACED = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedToken:
    """What is remembered of a token as it was at its end, in seconds since the epoch."""

    digest: str = field(repr=False)
    id: str
    ending: Ending
    ended_at: int
    hosts: tuple[str, ...] = ()
    email: str = ""
    comment: str = ""

    def __str__(self) -> str:
        hosts = f"; it was valid for {', '.join(self.hosts)}" if self.hosts else ""
        advice = (
            ". It was given a new secret then; look for it by its id"
            if self.ending is Ending.REPLACED
            else ""
        )
        return f"token {self.id} ended: {self.ending} on {rfc3339(self.ended_at)}{hosts}{advice}"

    def described(self) -> dict[str, Any]:
        """Return the data that programs may see, as JSON has it."""
        return {
            "id": self.id,
            "sha256": self.digest,
            "hosts": list(self.hosts),
            "email": self.email,
            "comment": self.comment,
            "status": self.ending,
            "ended_at": rfc3339(self.ended_at),
        }


@dataclass(frozen=True, slots=True)
class FoundEnded:
    """Some ended tokens, the last to end first.

    *total* is the number of all. The list continues at *more*, a CURSOR, or None at the end; *is_whole* is
    false while expired tokens may be missing.
    """

    tokens: tuple[EndedToken, ...]
    total: int
    more: str | None = None
    is_whole: bool = True
