"""The table of all tokens, and the search in it; one request never takes long, however many there are."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

from app.core.kinds import Hosts
from app.core.search import CURSOR, Found, Kind, Query
from app.core.tokens import Token, id_time_ms
from app.store import keys, records
from app.store.backfill import Adoption
from app.store.index import Index, upper_bound
from app.store.index_records import Fields, Reader
from app.store.transport.cluster import Client

_PATIENCE_S = 0.08
_SETTLING_MS = 60_000
_PRUNED_AHEAD = 1000


class Listing:
    """Lists and searches the index, and keeps it clean of tokens that have expired."""

    def __init__(self, client: Client, reader: Reader, index: Index) -> None:
        self._client: Any = client
        self._reader = reader
        self._index = index
        self.adoption = Adoption(client, reader, index)

    def page(self, number: int, size: int) -> tuple[Sequence[Token], int]:
        """Return the tokens of page *number*, newest first, and the count of all."""
        until = time.monotonic() + _PATIENCE_S
        self.adoption.go_on()
        start = (number - 1) * size
        while True:
            entries = self._index.ranked(start, size)
            kept = self.named(entries)
            if len(kept) == len(entries) or not self._prune(start) or time.monotonic() > until:
                return kept, self._index.count()

    def search(self, query: Query, start: str | None, size: int) -> Found:
        """Return the newest tokens that *query* means, from *start* on; it may take another search."""
        until = time.monotonic() + _PATIENCE_S
        if start is None:
            self.adoption.go_on()
        hits: list[bytes] = []
        more: bytes | None = None
        for entries, rest in self._index.walk(*_bounds(query, start)):
            hits += self._hits(query, entries)
            more = hits[size] if len(hits) > size else rest
            if len(hits) > size or time.monotonic() > until:
                break
        return self._found(query, hits[:size], more)

    def named(self, entries: Sequence[bytes]) -> list[Token]:
        """Return the tokens of *entries* that go by the ids in them."""
        found = zip(entries, self._reader.tokens(_digests(entries)), strict=True)
        return [token for entry, token in found if token and token.id == keys.id_of_entry(entry)]

    def old_peppers(self, current: str) -> Iterator[int]:
        """Yield how many tokens do not name the pepper *current*, slice by slice."""
        for entries, _ in self._index.walk():
            said = filter(None, self._reader.fields(_digests(entries), "hosts", "pepper"))
            yield sum(hosts is not None and pepper != current for hosts, pepper in said)

    def _found(self, query: Query, hits: Sequence[bytes], more: bytes | None) -> Found:
        total = self._index.count()
        searched = self._index.count_above(more) if more else total
        cursor = keys.cursor_of(more) if more else None
        return Found(query, tuple(self.named(hits)), searched, total, cursor, self.adoption.is_finished())

    def _hits(self, query: Query, entries: Sequence[bytes]) -> list[bytes]:
        if query.kind is Kind.ID:
            return list(entries)
        name = "email" if query.kind is Kind.EMAIL else "hosts"
        said = self._reader.fields(_digests(entries), name)
        return [
            entry
            for entry, values in zip(entries, said, strict=True)
            if values and values[0] and _means(query, values[0])
        ]

    def _prune(self, start: int) -> int:
        """Drop index entries whose token is gone, but none so young that its record may yet come."""
        seconds, _ = self._client.time()
        entries = self._index.ranked(start, _PRUNED_AHEAD)
        said = self._reader.fields(_digests(entries), "id", "moved_to")
        gone = [
            entry
            for entry, values in zip(entries, said, strict=True)
            if not (_stands(entry, values) or _is_young(entry, seconds * 1000))
        ]
        return self._index.drop(*gone)


def _bounds(query: Query, start: str | None) -> tuple[bytes, bytes]:
    is_id = query.kind is Kind.ID
    lower = b"[" + query.text.encode() if is_id else b"-"
    if start is None:
        return (b"[" + upper_bound(query.text) if is_id else b"+"), lower
    return b"[" + (keys.entry_of(start) if CURSOR.fullmatch(start) else upper_bound(start)), lower


def _stands(entry: bytes, values: Fields | None) -> bool:
    """Tell whether the record of *entry*, whose id and move are *values*, is there and goes by its id."""
    if values is None:
        return False
    digest, (kept, moved_to) = keys.digest_of_entry(entry), values
    return not records.where(digest, moved_to) and records.id_of(digest, kept) == keys.id_of_entry(entry)


def _is_young(entry: bytes, now_ms: int) -> bool:
    return abs(now_ms - id_time_ms(keys.id_of_entry(entry))) < _SETTLING_MS


def _means(query: Query, text: str) -> bool:
    if query.kind is Kind.EMAIL:
        return query.text in text.lower()
    return not query.patterns.isdisjoint(Hosts().from_record(text))


def _digests(entries: Sequence[bytes]) -> list[str]:
    return [keys.digest_of_entry(entry) for entry in entries]
