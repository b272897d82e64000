"""An audit entry in words, for pages and commands: a sentence, and the changes that it leaves out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from app.core.audit import CUT, Action, Entry, Via
from app.core.fields import FIELDS

_MOST_HOSTS = 3
_MOST_CHARS = 80


class Changed(NamedTuple):
    """A field with its old and its new value; None if there was no token before, or is none after."""

    name: str
    old: str | None
    new: str | None

    def __str__(self) -> str:
        if self.old is None or self.new is None:
            return f"{self.name} {self.old or self.new}"
        return f"{self.name} from {self.old} to {self.new}"


class Told(NamedTuple):
    """A sentence: *who* *did* something to the token *token_id*, *rest*; and the changes that it leaves out.

    A refused sign-in has no token. *is_named* tells that *who* is a name.
    """

    who: str
    is_named: bool
    did: str
    token_id: str
    rest: str
    changes: tuple[Changed, ...]


class _Said(NamedTuple):
    """What was done, how, and the fields that these words tell."""

    did: str
    rest: str = ""
    fields: frozenset[str] = frozenset()


Changes = Mapping[str, Changed]


def told(entry: Entry) -> Told:
    """Return *entry* in words."""
    changes = {name: _changed(entry, name, *values) for name, values in entry.changes().items()}
    say = _SAID.get(entry.action)
    said = say(changes) if say else _Said(f"did {entry.action} to")
    others = (changes[name] for name in changes if name not in {"sha256", *said.fields})
    who = "The holder" if entry.via == Via.SELF else entry.actor
    is_named = entry.via != Via.SELF and bool(who)
    return Told(who or "Someone", is_named, said.did, entry.token_id, said.rest, tuple(others))


def _changed(entry: Entry, name: str, old: Any, new: Any) -> Changed:
    blank = FIELDS[name].blank if name in FIELDS else "none"
    before = None if entry.action == Action.CREATE else _text(old, blank)
    return Changed(name, before, None if entry.action == Action.DELETE else _text(new, blank))


def _text(value: Any, blank: str) -> str:
    if isinstance(value, bool):
        return f"{value}".lower()
    if isinstance(value, list):
        return ", ".join(value) or blank
    return blank if value in {None, ""} else f"{value}"


def _created(changes: Changes) -> _Said:
    return _with_hosts("created", "for", changes, lambda changed: changed.new)


def _deleted(changes: Changes) -> _Said:
    return _with_hosts("deleted", "which was for", changes, lambda changed: changed.old)


def _with_hosts(did: str, link: str, changes: Changes, value: Callable[[Changed], str | None]) -> _Said:
    hosts = (value(changes["hosts"]) or "").split(", ") if "hosts" in changes else []
    if not hosts:
        return _Said(did)
    more = len(hosts) - _MOST_HOSTS
    number = "" if hosts[-1].endswith(CUT) else f"{more} "
    comma = "," if link.startswith("which") else ""
    shown = ", ".join(hosts[:_MOST_HOSTS]) + (f" and {number}more" if more > 0 else "")
    return _Said(did, f"{comma} {link} {shown}", frozenset() if more > 0 else frozenset({"hosts"}))


def _edited(changes: Changes) -> _Said:
    if len(changes) != 1:
        return _Said(f"changed {len(changes)} fields of" if changes else "edited")
    (changed,) = changes.values()
    did = f"changed {changed.name} of"
    if len(f"{changed.old}{changed.new}") > _MOST_CHARS:
        return _Said(did)
    return _Said(did, f" from {changed.old} to {changed.new}", frozenset(changes))


def _rotated(changes: Changes) -> _Said:
    fields = frozenset({"grace_ends_at"})
    if "grace_ends_at" in changes:
        return _Said("rotated", f"; its old secret is valid until {changes['grace_ends_at'].new}", fields)
    return _Said("rotated", "; its old secret ended at once")


_SAID: Mapping[str, Callable[[Changes], _Said]] = {
    Action.CREATE: _created,
    Action.EDIT: _edited,
    Action.ENABLE: lambda _: _Said("enabled", "", frozenset({"enabled"})),
    Action.DISABLE: lambda _: _Said("disabled", "", frozenset({"enabled"})),
    Action.ROTATE: _rotated,
    Action.RETIRE: lambda _: _Said("ended a replaced secret of"),
    Action.DELETE: _deleted,
    Action.LOGIN_REFUSED: lambda _: _Said("was refused to sign in, after too many wrong passwords"),
}
