"""Which tokens a list has, and in which order (docs/decisions/0027)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import NamedTuple, Self

from app.core import ended, search, tokens
from app.core.fields import ClashingFieldsError, InvalidFieldsError
from app.core.list_kinds import Hosts
from app.core.search import Query
from app.core.tokens import Fault, Status, status_of

_MARK_CHARS = 8
# As Redis writes the score of a member, but for the + of an exponent, which is a blank in a URL.
_SCORE = r"-?(?:inf|[0-9]{1,17}(?:\.[0-9]{1,17})?(?:e-?[0-9]{1,3})?)"
NEVER, CENSUS = "never", "census"
CURSOR = re.compile(
    f"({tokens.TOKEN_ID.pattern}{tokens.DIGEST.pattern})-([0-9a-f]{{{_MARK_CHARS}}})(?:-({_SCORE}|{NEVER}|{CENSUS}))?",
    re.ASCII,
)
NO_CURSOR = {"cursor": "the next_cursor of another response"}
OF_ANOTHER_LIST = {"cursor": "it belongs to a list with another filter, sort or status; begin without it"}

# Names of fields with a test for the text of each; a token meets it if one of them is true.
Condition = Mapping[str, Callable[[str], bool]]


class Sort(StrEnum):
    """What a list is sorted by."""

    CREATED_AT = "created_at"
    LAST_USED_AT = "last_used_at"
    EXPIRES_AT = "expires_at"


@dataclass(frozen=True, slots=True)
class Order:
    """The order of a list.

    Tokens that never expire come after all that do, and those that were never used before all that were.
    """

    sort: Sort = Sort.CREATED_AT
    descending: bool = True

    def __str__(self) -> str:
        return f"{'-' * self.descending}{self.sort}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the order that *text* names, such as ``-created_at``; raise InvalidFieldsError."""
        if text not in ORDERS:
            raise InvalidFieldsError({"sort": f"one of {', '.join(ORDERS)}"})
        return cls(Sort(text.removeprefix("-")), text.startswith("-"))


NEWEST_FIRST = Order()
ORDERS = tuple(str(Order(sort, descending)) for sort in Sort for descending in (True, False))


class State(NamedTuple):
    """What the status of a token and its place in a list depend on; times are in seconds since the epoch."""

    fault: Fault | None
    enabled: bool
    not_before: int | None
    expires_at: int | None
    created_at: int | None
    last_used_at: int | None

    def status(self, now_s: int) -> Status:
        """Return the status at *now_s*."""
        return status_of(self.fault, self.not_before, self.expires_at, now_s, enabled=self.enabled)


class Counts(NamedTuple):
    """How many tokens had each status at *taken_at*, in seconds since the epoch."""

    by_status: Mapping[Status, int]
    taken_at: int


class Position(NamedTuple):
    """Where a list continues: at the first token that does not come before that *entry* and its *score*.

    The entry is an id and a SHA-256, or in the URLs of older versions an id. The score is blank in the order
    of creation, NEVER for a token that never expires or was never used, and CENSUS before tokens are sorted.
    """

    entry: str
    score: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """What the tokens of a list have in common; a condition that is None or blank holds for every token.

    *query* is from search.understand and *host* from search.by_host; *email* and *comment* are parts, in
    upper or lower case. *within_s* holds for a token that expires within so many seconds, *unused_s* for one
    that was not used for so many, counted from its creation if it was never used.
    """

    query: Query | None = None
    status: Status | None = None
    host: Query | None = None
    email: str = ""
    comment: str = ""
    within_s: int | None = None
    unused_s: int | None = None

    @property
    def has_state(self) -> bool:
        """Return whether ``admits`` may return false."""
        return (self.status, self.within_s, self.unused_s) != (None, None, None)

    def admits(self, state: State, now_s: int) -> bool:
        """Return whether the status and the times of a token are as wanted."""
        if self.status and state.status(now_s) is not self.status:
            return False
        if self.within_s is not None and not (
            state.expires_at is not None and state.expires_at <= now_s + self.within_s
        ):
            return False
        used_at = state.last_used_at or state.created_at or 0
        return self.unused_s is None or used_at <= now_s - self.unused_s

    def conditions(self) -> Iterator[Condition]:
        """Yield what must be true of the texts in the record."""
        for query in (self.query, self.host):
            if query and (tests := _tests(query)):
                yield tests
        if self.email:
            yield {"email": _has(self.email)}
        if self.comment:
            yield {"comment": _has(self.comment)}

    def cursor(self, order: Order, position: Position) -> str:
        """Return *position* as a cursor, which holds for this filter and *order* alone."""
        score = f"-{position.score}" if position.score else ""
        return f"{position.entry}-{self._mark(order)}{score}"

    def position(self, order: Order, cursor: str) -> Position:
        """Return the position of *cursor*.

        Raises InvalidFieldsError, or ClashingFieldsError for a cursor of another list.
        """
        if search.is_start(cursor) and order == NEWEST_FIRST:
            return Position(cursor)
        found = CURSOR.fullmatch(cursor)
        if not found and not (search.is_start(cursor) or ended.CURSOR.fullmatch(cursor)):
            raise InvalidFieldsError(NO_CURSOR)
        if not found or found[2] != self._mark(order):
            raise ClashingFieldsError(OF_ANOTHER_LIST)
        if (found[3] is None) is not (order.sort is Sort.CREATED_AT):
            raise InvalidFieldsError(NO_CURSOR)
        return Position(found[1], found[3] or "")

    def _mark(self, order: Order) -> str:
        queries = [
            (query.kind, query.text, query.part) if query else None for query in (self.query, self.host)
        ]
        texts = (self.email.lower(), self.comment.lower())
        all_of_it = f"{order} {queries} {texts} {self.status} {self.within_s} {self.unused_s}"
        return sha256(all_of_it.encode(errors="replace")).hexdigest()[:_MARK_CHARS]


ALL = Filter()


def _tests(query: Query) -> Condition:
    tests: dict[str, Callable[[str], bool]] = {"hosts": _lists(query)} if query.patterns else {}
    return tests | ({"email": query.is_in_email, "comment": query.is_in_comment} if query.part else {})


def _has(part: str) -> Callable[[str], bool]:
    wanted = part.lower()
    return lambda text: wanted in text.lower()


def _lists(query: Query) -> Callable[[str], bool]:
    return lambda text: not query.patterns.isdisjoint(Hosts().from_record(text))
