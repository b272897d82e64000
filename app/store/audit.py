"""Read the audit log (docs/decisions/0031).

A server has one stream. In a Cluster each slot has one, because a script can only write to the slot of the
token that it changes; they are merged here.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from app.core.audit import AuditLog, Entry, FoundEntries, Rules, Wanted
from app.store import keys
from app.store.trail import parse, tags
from app.store.transport.cluster import Client, Cluster, by_server
from app.store.transport.deadlines import bounded
from app.store.transport.scripts import Script

_PATIENCE_S = 0.08
_MAX_READ = 1000

Place = tuple[int, int, int]
Stream = tuple[int, str]


class RedisAudit(AuditLog):
    """Merges the streams of all servers, newest first by the clocks of these servers."""

    def __init__(self, client: Client, deadline_s: float, rules: Rules) -> None:
        self._client: Any = client
        self._deadline_s = deadline_s
        self._max_age_s = rules.max_age_s
        self._history = Script("history")

    def newest(self, wanted: Wanted, start: str | None, size: int) -> FoundEntries:
        until = time.monotonic() + _PATIENCE_S
        wanted = replace(
            wanted, since_ms=max(wanted.since_ms, (int(time.time()) - self._max_age_s) * 1000, 0)
        )
        entries: list[Entry] = []
        while True:
            with bounded(self._deadline_s):
                found, start = self._some(wanted, start, size - len(entries))
            entries += found
            if start is None or len(entries) == size or time.monotonic() > until:
                return FoundEntries(tuple(entries), start)

    def _some(self, wanted: Wanted, start: str | None, size: int) -> tuple[list[Entry], str | None]:
        """Return at most *size* entries after the cursor *start*, and the cursor of the rest."""
        found: list[Entry] = []
        stops: list[Place] = []
        for client, streams in self._by_server():
            last, *entries = self._history.run(client, [], _arguments(wanted, start, size, streams))
            found += [parse(_cursor(number, entry_id), fields) for number, entry_id, fields in entries]
            stops += [_place(_cursor(*last))] if last else []
        return _merged(found, stops, size)

    def _by_server(self) -> Iterator[tuple[Any, Sequence[Stream]]]:
        if not isinstance(self._client, Cluster):
            yield self._client, [(0, keys.audit(None))]
            return
        slots = {keys.audit(tag): slot for slot, tag in enumerate(tags())}
        for client, names in by_server(self._client, [*slots], str):
            yield client, [(slots[name], name) for name in names]


def _arguments(wanted: Wanted, start: str | None, size: int, streams: Sequence[Stream]) -> list[Any]:
    conditions = {"token": wanted.token_id, "actor": wanted.actor, "action": wanted.action}
    given = [text for condition in conditions.items() if condition[1] for text in condition]
    entry_id, _, number = start.rpartition("-") if start else ("+", "", "0")
    after = [size, _MAX_READ, wanted.since_ms, entry_id, number]
    return [*after, len(given) // 2, *given, *(part for stream in streams for part in stream)]


def _merged(found: list[Entry], stops: list[Place], size: int) -> tuple[list[Entry], str | None]:
    """Return the newest *size* entries that are certain, and where the rest begins.

    Nothing is certain beyond the newest of *stops*, the places at which servers stopped reading.
    """
    found.sort(key=lambda entry: _place(entry.cursor), reverse=True)
    stop = max(stops, default=None)
    certain = [entry for entry in found if stop is None or _place(entry.cursor) >= stop]
    if len(certain) > size or (len(certain) == size and (stop or len(found) > size)):
        return certain[:size], certain[size - 1].cursor
    return certain, "-".join(map(str, stop)) if stop else None


def _cursor(number: int, entry_id: bytes) -> str:
    return f"{entry_id.decode()}-{number}"


def _place(cursor: str) -> Place:
    ms, sequence, number = map(int, cursor.split("-"))
    return ms, sequence, number
