"""What the scripts need to write audit entries, and what they return of them (docs/decisions/0031)."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from itertools import count
from typing import Any

from app.core.audit import CUT, MAX_VALUE, RECORDED, Action, Actor, Entry, Rules
from app.core.durability import Durability
from app.core.tokens import Token
from app.store import keys
from app.store.transport.cluster import Client, Cluster
from app.store.transport.slots import SLOTS, slot_of

_MIN_PER_SLOT = 100
_encode = json.JSONEncoder(separators=(",", ":")).encode
Fields = Sequence[bytes]


class Trail:
    """Composes the audit argument of a script.

    *on_action* receives the action of each entry that a script has written, and *on_entry* the entry, which
    takes longer to parse than to write. *on_change* receives how durable each change is.
    """

    def __init__(
        self,
        client: Client,
        rules: Rules,
        on_entry: Callable[[Entry], None] | None = None,
        on_action: Callable[[Action], None] | None = None,
        on_change: Callable[[Durability], None] | None = None,
    ) -> None:
        self._is_cluster = isinstance(client, Cluster)
        self._rules = rules
        self._max_entries = _per_slot(rules.max_entries) if self._is_cluster else rules.max_entries
        self._on_entry = on_entry
        self._on_action = on_action
        self.on_change = on_change

    def argument(self, actor: Actor, action: Action, token: Token, **conditions: Any) -> str:
        """Return the last argument of a script that changes *token* if the *conditions* are met."""
        return self.beside(keys.record(token.digest), actor, action, token.id, **conditions)

    def beside(self, key: str, actor: Actor, action: Action, token_id: str = "", **conditions: Any) -> str:
        """Return the last argument of a script whose keys share a slot with *key*."""
        facts = {
            "action": action,
            "via": actor.via,
            "actor": actor.name,
            "address": actor.address,
            "token": token_id,
        }
        entry = [text for fact in facts.items() if fact[1] for text in fact]
        argument = _encode({"entry": entry, **conditions})
        return f"{self._rules_of(slot_of(key) if self._is_cluster else None)},{argument[1:]}"

    @lru_cache(SLOTS)  # noqa: B019 - a process has one, and an import asks for each of its tokens
    def _rules_of(self, slot: int | None) -> str:
        """Return what is the same for all changes of a slot, without the last brace."""
        rules = {
            "key": keys.audit(None if slot is None else tags()[slot]),
            "max_entries": self._max_entries,
            "max_age_ms": self._rules.max_age_s * 1000,
            "kept": RECORDED,
        }
        return _encode(rules)[:-1]

    def report(self, reply: object) -> None:
        """Pass on the entry in the *reply* of a script, if it has written one."""
        if not isinstance(reply, list):
            return
        entry_id, *fields = reply
        if self._on_action:
            self._on_action(Action(fields[fields.index(b"action") + 1].decode()))
        if self._on_entry:
            self._on_entry(parse(entry_id.decode(), fields))


def parse(cursor: str, fields: Fields) -> Entry:
    """Return the entry with these *fields*, which are a name, its value, the next name and so on."""
    texts = [_text(field) for field in fields]
    values = dict(zip(texts[::2], texts[1::2], strict=False))
    return Entry(
        cursor=cursor,
        at_ms=int(cursor.partition("-")[0]),
        action=values.get("action", ""),
        via=values.get("via", ""),
        actor=values.get("actor", ""),
        address=values.get("address", ""),
        token_id=values.get("token", ""),
        old={name[1:]: value for name, value in values.items() if name.startswith("-")},
        new={name[1:]: value for name, value in values.items() if name.startswith("+")},
    )


def _per_slot(max_entries: int) -> int:
    """Return how many entries a slot keeps: its share, but enough for the history of some tokens."""
    return min(max_entries, max(_MIN_PER_SLOT, max_entries // SLOTS))


@cache
def tags() -> Sequence[str]:
    """Return a short text for each slot of a Cluster, which as a hash tag puts a key into that slot."""
    found: dict[int, str] = {}
    for number in count():
        found.setdefault(slot_of(f"{number:x}"), f"{number:x}")
        if len(found) == SLOTS:
            return [found[slot] for slot in range(SLOTS)]
    raise AssertionError  # count() has no end


def _text(kept: bytes) -> str:
    if len(kept) > MAX_VALUE:
        return kept[:MAX_VALUE].decode(errors="ignore") + CUT
    return kept.decode(errors="replace")
