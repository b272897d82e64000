"""Judge the rows of an import: which of them are new to a database (docs/decisions/0029)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from app.core.copies import Copy, Here, RedirectCopy, TokenCopy
from app.core.ended import REMEMBERED_DAYS, EndedToken, Ending
from app.core.fields import KEPT
from app.core.tokens import Token

_REMEMBERED_S = REMEMBERED_DAYS * 86_400
_NO_PEPPER = (
    "pepper: no PEPPER here is the one that this token was made with; set that one as PEPPER_PREVIOUS"
)
_UNREADABLE = "stored: the service could not read this record"
# What makes two tokens with the same id the same one.
_FACTS = (*(each.name for each in KEPT), "created_at", "expires_at", "enabled")


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a file: a copy, or the *problem* that it has.

    *unique* is the name of what no two rows have in common. *also* are the digests of the same secret under
    previous peppers. *peppers* are the fingerprints of those of which one made the token, if it has no label.
    """

    number: int
    copy: Copy | None = None
    problem: str = ""
    name: str = ""
    unique: str = "sha256"
    also: tuple[str, ...] = field(default=(), repr=False)
    peppers: tuple[str, ...] = ()


class Fate(StrEnum):
    """What an import does with a row."""

    NEW = "imported"
    SAME = "already here"
    ENDED = "ended, not brought back"
    TAKEN = "in conflict with what is here"
    BAD = "not valid"


@dataclass(frozen=True, slots=True)
class Judged:
    """A row and its fate; *problem* says why it can't be imported, and *copy* is what is written of it."""

    row: Row
    fate: Fate
    problem: str = ""
    copy: Copy | None = None


class Judge:
    """Judges the rows of one file, from its beginning."""

    def __init__(self, fingerprints: Iterable[str], now_s: int, *, restore_ended: bool) -> None:
        self._fingerprints = frozenset(fingerprints)
        self._now_s = now_s
        self._restore_ended = restore_ended
        self._line_of: dict[bytes | str, int] = {}

    def problem_of(self, row: Row) -> str:
        """Return what is wrong with *row* itself, or compared with the rows before it; "" for nothing."""
        if row.copy is None:
            return row.problem
        copy, problem = row.copy, ""
        if isinstance(copy, TokenCopy):
            problem = "" if self._fingerprints.issuperset(peppers_of(row)) else _NO_PEPPER
            problem = problem or self._repeated("id", copy.token.id, row)
        return problem or self._repeated(row.unique, bytes.fromhex(copy.digest), row)

    def judged(self, row: Row, here: Here) -> Judged:
        """Return the fate of *row*, which has no problem of its own, in a database that holds *here*."""
        match row.copy:
            case TokenCopy() as copy:
                return self._token(row, copy, here)
            case RedirectCopy() as copy:
                return self._redirect(row, copy, here)
            case EndedToken() as copy:
                return self._ended(row, copy, here, Fate.NEW)
        raise AssertionError

    def _repeated(self, what: str, key: bytes | str, row: Row) -> str:
        first = self._line_of.setdefault(key, row.number)
        return "" if first == row.number else f"{what}: the same as in line {first}"

    def _token(self, row: Row, copy: TokenCopy, here: Here) -> Judged:
        token, held = copy.token, here.held
        if not here.is_readable:
            return Judged(row, Fate.BAD, _UNREADABLE)
        if token.expires_at is not None and token.expires_at <= self._now_s:
            return self._ended(row, _expired(token, token.expires_at), here, Fate.ENDED)
        if isinstance(held, EndedToken):
            if self._is_over(held):
                return Judged(row, Fate.ENDED)
        elif held:
            return _met(row, token, held)
        if here.namesake:
            return _taken(row, f"token {token.id} with another secret, because it was rotated,")
        return Judged(row, Fate.NEW, copy=copy)

    def _redirect(self, row: Row, copy: RedirectCopy, here: Here) -> Judged:
        held = here.held
        if copy.expires_at is not None and copy.expires_at <= self._now_s:
            return self._ended(row, copy.replaced, here, Fate.ENDED)
        match held:
            case RedirectCopy():
                is_same = held.moved_to == copy.moved_to
                return Judged(row, Fate.SAME) if is_same else _taken(row, "a redirect to another token")
            case Token():
                return _taken(row, f"token {held.id}, which was rotated elsewhere,")
            case EndedToken() if self._is_over(held):
                return Judged(row, Fate.ENDED)
        return Judged(row, Fate.NEW, copy=copy)

    def _ended(self, row: Row, ended: EndedToken | None, here: Here, fate: Fate) -> Judged:
        """Judge what has ended: it is remembered as long as in the database that it comes from."""
        if here.held or ended is None or ended.ended_at + _REMEMBERED_S <= self._now_s:
            return Judged(row, Fate.ENDED if fate is Fate.ENDED else Fate.SAME)
        return Judged(row, fate, copy=ended)

    def _is_over(self, held: EndedToken) -> bool:
        """Tell whether a token that ended here stays ended; an expiry may have been postponed elsewhere."""
        return held.ending is not Ending.EXPIRED and not self._restore_ended


def peppers_of(row: Row) -> Sequence[str]:
    """Return the fingerprints of the peppers of which one made the token in *row*; none without a token."""
    if not isinstance(row.copy, TokenCopy):
        return ()
    label = row.copy.labels.get("pepper")
    return (label,) if label else row.peppers


def _met(row: Row, token: Token, held: Token | RedirectCopy) -> Judged:
    """Judge a token whose key exists; after a rotation or a new pepper a redirect to itself may be there."""
    if isinstance(held, RedirectCopy):
        is_same, what = held.id in (token.id, None), "a replaced secret of another token"
        return Judged(row, Fate.SAME) if is_same else _taken(row, what)
    if held.id != token.id:
        return _taken(row, f"another token, {held.id},")
    differing = _differing(held, token)
    return (
        _taken(row, f"token {held.id}", f" and differs: {differing}") if differing else Judged(row, Fate.SAME)
    )


def _taken(row: Row, what: str, more: str = "") -> Judged:
    return Judged(row, Fate.TAKEN, f"{row.unique}: {what} is here{more}")


def _differing(held: Token, token: Token) -> str:
    """Return the names of the fields in which two copies of one token differ; its use may go on."""
    return ", ".join(name for name in _FACTS if getattr(held, name) != getattr(token, name))


def _expired(token: Token, ended_at: int) -> EndedToken:
    return EndedToken(
        digest=token.digest,
        id=token.id,
        ending=Ending.EXPIRED,
        ended_at=ended_at,
        hosts=token.hosts,
        email=token.email,
        comment=token.comment,
    )
