"""What the overview shows of all tokens together, as of one moment (docs/decisions/0027)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from app.core.listing import State
from app.core.tokens import DIGEST, TOKEN_ID, Status
from app.core.usage import DAYS, HOURS, Counts

UNUSED_DAYS = 90
TOP = 10
_DAY_S = 86_400


class Use(NamedTuple):
    """How many requests of one token were allowed and refused in the last 24 hours."""

    token_id: str
    digest: str
    allowed: int
    refused: int


class Unused(NamedTuple):
    """How many tokens were never used, and how many not for UNUSED_DAYS, by their creation if never."""

    never: int = 0
    lately: int = 0

    def plus(self, states: Iterable[State | None], now_s: int) -> Unused:
        """Return the counts with those of more tokens."""
        used = [(state.last_used_at, state.created_at) for state in states if state]
        oldest = now_s - UNUSED_DAYS * _DAY_S
        return Unused(
            self.never + sum(last is None for last, _ in used),
            self.lately + sum((last or created or 0) <= oldest for last, created in used),
        )


@dataclass(frozen=True, slots=True)
class Traffic:
    """The requests of all tokens by hour and day, oldest first, and the tokens with most of them."""

    hours: tuple[Counts, ...]
    days: tuple[Counts, ...]
    busiest: tuple[Use, ...]
    most_refused: tuple[Use, ...]
    unused: Unused

    def described(self) -> dict[str, Any]:
        """Return it as JSON, the inverse of ``parse``."""
        return {
            "hours": self.hours,
            "days": self.days,
            "busiest": self.busiest,
            "most_refused": self.most_refused,
            "unused": self.unused,
        }

    @classmethod
    def parse(cls, found: Any) -> Self:
        """Return what ``described`` returned as *found*; raises ValueError, TypeError or KeyError."""
        hours, days = _ring(found["hours"], HOURS), _ring(found["days"], DAYS)
        busiest, refused = (tuple(map(_use, found[name][:TOP])) for name in ("busiest", "most_refused"))
        return cls(hours, days, busiest, refused, Unused(*map(int, found["unused"])))


def _ring(rows: Sequence[Any], length: int) -> tuple[Counts, ...]:
    if len(rows) != length:
        raise ValueError("it has another length")
    return tuple(Counts(*map(int, row)) for row in rows)


def _use(row: Any) -> Use:
    token_id, digest, allowed, refused = row
    if not (TOKEN_ID.fullmatch(token_id) and DIGEST.fullmatch(digest)):
        raise ValueError("neither an id nor a SHA-256")
    return Use(token_id, digest, int(allowed), int(refused))


@dataclass(frozen=True, slots=True)
class Totals:
    """How many tokens had each status at *taken_at*, in seconds since the epoch, and what they were used."""

    by_status: Mapping[Status, int]
    taken_at: int
    traffic: Traffic

    @property
    def count(self) -> int:
        """Return the number of tokens."""
        return sum(self.by_status.values())
