"""Copies of all that a database holds of tokens, for another one (docs/decisions/0029)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Protocol

from app.core.audit import Actor
from app.core.ended import EndedToken
from app.core.tokens import Token

# Text fields of a record that no operator edits, and that are copied as they are.
LABELS = ("pepper", "managed")

Columns = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class UsageCopy:
    """The counters of a token: for each of core.usage.Counts a column, which ends at *until_hour*."""

    until_hour: int  # since the epoch
    hours: Columns
    days: Columns


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenCopy:
    """A token, its LABELS and its usage.

    *stored* has the fields whose values break the rules for operators, as their record has them.
    """

    token: Token
    labels: Mapping[str, str] = field(default_factory=dict)
    stored: Mapping[str, str] = field(default_factory=dict)
    usage: UsageCopy | None = None

    @property
    def digest(self) -> str:
        """Return the digest that names the record."""
        return self.token.digest


@dataclass(frozen=True, slots=True, kw_only=True)
class RedirectCopy:
    """The redirect that a token left at its old *digest*; *replaced* is its expiry marker, if it has one."""

    digest: str = field(repr=False)
    id: str | None
    moved_to: str = field(repr=False)
    expires_at: int | None
    replaced: EndedToken | None = None


Copy = TokenCopy | RedirectCopy | EndedToken


class Written(Enum):
    """What became of a copy that was to be written."""

    DONE = auto()
    TAKEN = auto()  # the key exists
    ENDED = auto()  # the database remembers that it ended


@dataclass(frozen=True, slots=True)
class Here:
    """What a database holds under the digest of a copy.

    *namesake* is the digest of another record with the same id. *is_readable* is false if the record that
    would be written could not be read.
    """

    held: Token | RedirectCopy | EndedToken | None = None
    namesake: str = field(default="", repr=False)
    is_readable: bool = True


class CopyStore(Protocol):
    """Reads and writes copies; each method raises StoreUnavailableError when it can't."""

    def count(self) -> int:
        """Return about how many tokens there are."""
        ...

    def tokens(self) -> Iterator[Sequence[TokenCopy]]:
        """Yield all tokens, each once; those whose records can't be read have a fault."""
        ...

    def redirects(self) -> Iterator[Sequence[RedirectCopy]]:
        """Yield all redirects; one may come twice."""
        ...

    def look(self, copies: Sequence[Copy]) -> list[Here]:
        """Return what the database holds under the digest of each copy."""
        ...

    def write(
        self, actor: Actor, copies: Sequence[Copy], *, restore_ended: bool
    ) -> Callable[[], list[Written]]:
        """Begin to write each copy with all that belongs to it, unless its key exists.

        One that the database remembers as deleted or replaced is written only if *restore_ended*. The
        function returned waits for the end, and must be called before the next write.
        """
        ...

    def record_peppers(self, fingerprints: Sequence[str]) -> None:
        """Note that tokens of these peppers are in the database."""
        ...
