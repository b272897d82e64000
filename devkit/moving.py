"""Exports and imports of one replica."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from app.core import copy_parsing
from app.core.arrivals import Row
from app.core.copy_values import Line
from app.core.exporter import Exporter
from app.core.importer import Counts, Importer, Options, Report
from app.store import keys, usage
from app.store.copy_writer import RedisCopies
from app.store.tokens import RedisTokens
from app.store.trail import Trail
from devkit.builders import ACTOR
from devkit.replica import DEADLINE_S, RULES, Replica

_LISTS = (keys.INDEX, keys.EXPIRES_AT, keys.ENDED)


class Mover:
    """Exports the database of a replica to lines, and imports lines to it."""

    def __init__(self, replica: Replica) -> None:
        self.replica = replica
        client, check = replica.client, replica.pepper_check
        self.copies = RedisCopies(client, check, DEADLINE_S, Trail(client, RULES))
        store = RedisTokens(client, check, DEADLINE_S)
        prints = replica.peppers.fingerprints
        self.exporter = Exporter(store, replica.catalog, self.copies, prints, "1.0")
        self.importer = Importer(self.copies, replica.peppers)
        self.skipped: list[str] = []

    def export(self) -> list[str]:
        """Return the lines of an export."""
        now_s = self.replica.registry.now_s
        return list(self.exporter.lines(now_s, lambda token, _: self.skipped.append(token.digest)))

    def check(self, lines: Iterable[str], **options: bool) -> Report:
        """Judge *lines*, and change nothing."""
        return self.importer.check(rows(lines), Options(**options), self.replica.registry.now_s)

    def load(self, lines: Iterable[str], **options: bool) -> Counts:
        """Import *lines* and return how many have which fate."""
        now_s = self.replica.registry.now_s
        return self.importer.run(ACTOR, rows(lines), Options(**options), now_s, lambda _: None)


def rows(lines: Iterable[str]) -> Iterable[Row]:
    """Return the rows of an export."""
    numbered = (Line(number, text) for number, text in enumerate(lines, 1))
    return copy_parsing.rows(numbered, copy_parsing.read_header(next(numbered)))


def contents(client: Any) -> dict[bytes, Any]:
    """Return all keys of tokens with their values and expiries, in seconds, and the lists of tokens."""
    names = [name for name in client.scan_iter(match="*tokens:*") if not name.endswith(b":window")]
    lists = {name.encode(): client.zrange(name, 0, -1, withscores=True) for name in _LISTS}
    managed = {keys.MANAGED.encode(): client.smembers(keys.MANAGED)}
    return {name: _value(client, name) for name in names} | lists | managed


def _value(client: Any, name: bytes) -> tuple[Any, int]:
    expires_s = client.execute_command("PEXPIRETIME", name) // 1000
    if client.type(name) == b"hash":
        return client.hgetall(name), expires_s
    text = client.get(name)
    return text.ljust(usage.MAX_BYTES, b"\0") if name.endswith(b":usage") else text, expires_s
