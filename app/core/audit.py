"""The audit log: who changed what, from where and when (docs/decisions/0031)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum, auto
from typing import Any, Protocol

from app.core.fields import KEPT, InvalidFieldsError
from app.core.kinds import Kind, kept_number
from app.core.moments import rfc3339
from app.core.tokens import DIGEST, TOKEN_ID

# Where the log continues: the id of an entry in its stream, and the number of the stream.
CURSOR = re.compile(r"[1-9][0-9]{0,14}-[0-9]{1,10}-[0-9]{1,5}", re.ASCII)
MAX_ENTRIES = 10_000_000
MAX_AGE_DAYS = 36_500
# A value longer than this is cut, in bytes.
MAX_VALUE = 1024
CUT = "…"
_MS_DIGITS = 16


class Via(StrEnum):
    """The way in which an actor reached the service."""

    PAGE = auto()
    API = auto()
    SHELL = auto()
    SELF = auto()
    FILE = auto()


class Action(StrEnum):
    """What was done to a token; a refused sign-in has no token."""

    CREATE = auto()
    EDIT = auto()
    ENABLE = auto()
    DISABLE = auto()
    ROTATE = auto()
    RETIRE = auto()
    DELETE = auto()
    LOGIN_REFUSED = auto()


@dataclass(frozen=True, slots=True)
class Actor:
    """Who makes a change: the name of an operator, of a user of the machine, or the id of a token."""

    via: Via
    name: str
    address: str = ""


@dataclass(frozen=True, slots=True)
class Rules:
    """How much of the log is kept: the newest *max_entries*, for at most *max_age_s* seconds."""

    max_entries: int = 100_000
    max_age_s: int = 365 * 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One change; *old* and *new* have the values of its fields as records keep them, if not blank."""

    cursor: str
    at_ms: int
    action: str
    via: str
    actor: str
    address: str
    token_id: str
    old: Mapping[str, str]
    new: Mapping[str, str]

    def changes(self) -> dict[str, tuple[Any, Any]]:
        """Return the old and the new value of each field that changed, as the API has them.

        The old values of a token that was created are None, and so are the new ones of one that was deleted.
        """
        names = [name for name in _FORMS if name in self.old or name in self.new]
        before = None if self.action == Action.CREATE else self.old
        after = None if self.action == Action.DELETE else self.new
        return {name: (_value(name, before), _value(name, after)) for name in names}

    def described(self) -> dict[str, Any]:
        """Return what programs may see."""
        return {
            "at": rfc3339(self.at_ms // 1000, self.at_ms % 1000),
            "action": self.action,
            "via": self.via,
            "actor": self.actor,
            "address": self.address or None,
            "token": self.token_id or None,
            "changes": {name: {"old": old, "new": new} for name, (old, new) in self.changes().items()},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which entries are looked for: blank texts are any; *since_ms* is in milliseconds since the epoch."""

    token_id: str = ""
    actor: str = ""
    action: str = ""
    since_ms: int = 0


@dataclass(frozen=True, slots=True)
class FoundEntries:
    """Some entries, newest first, and the CURSOR of the rest, which is None at the end."""

    entries: tuple[Entry, ...]
    more: str | None


class AuditLog(Protocol):
    """Reads the audit log; each method raises StoreUnavailableError when it can't."""

    def newest(self, wanted: Wanted, start: str | None, size: int) -> FoundEntries:
        """Return the newest entries that are *wanted*, after the cursor *start*; it may stop early."""
        ...


def every(log: AuditLog, wanted: Wanted, at_once: int = 500) -> Iterator[Entry]:
    """Yield all entries that are *wanted*, newest first, *at_once* from each call of the log."""
    start: str | None = None
    while True:
        found = log.newest(wanted, start, at_once)
        yield from found.entries
        if (start := found.more) is None:
            return


def token_id(name: str, id_of: Callable[[str], str]) -> str:
    """Return the id of the token *name*, an id or a digest, of which *id_of* returns the id.

    Raises InvalidFieldsError, and what *id_of* raises.
    """
    if DIGEST.fullmatch(name):
        return id_of(name)
    if not TOKEN_ID.fullmatch(name):
        raise InvalidFieldsError({"token": "the id or the SHA-256 of a token"})
    return name


def _value(name: str, kept: Mapping[str, str] | None) -> Any:
    return None if kept is None else _FORMS[name](kept.get(name, ""))


def _is_enabled(kept: str) -> bool:
    return kept != "0"


def _moment(kept_ms: str) -> str | None:
    milliseconds = kept_number(kept_ms, _MS_DIGITS)
    return None if milliseconds is None else rfc3339(milliseconds // 1000)


def _form(kind: Kind) -> Callable[[str], Any]:
    """Return the function that converts a value of *kind* from its form in a record to that in the API."""
    return lambda kept: kind.to_json(kind.from_record(kept))


# The fields of a record that an entry shows.
RECORDED = (*(field.name for field in KEPT), "enabled", "managed")

# Everything that it shows, in this order.
_FORMS: Mapping[str, Callable[[str], Any]] = {
    **{field.name: _form(field.kind) for field in KEPT},
    "expires_at": _moment,
    "enabled": _is_enabled,
    "managed": lambda kept: kept or None,
    "sha256": lambda kept: kept or None,
    "grace_ends_at": _moment,
}
