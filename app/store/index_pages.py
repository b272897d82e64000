"""Pages of the index, and searches in it (docs/decisions/0002 and 0011).

The time for one request is limited, however many tokens there are.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import redis

from app.core.list_kinds import Hosts
from app.core.search import CURSOR, Found, Kind, Query
from app.core.tokens import Token, id_time_ms
from app.store import keys, records
from app.store.backfill import Backfill
from app.store.ended import EndedTokens
from app.store.index import Index, upper_bound
from app.store.index_records import Fields, RecordReader
from app.store.transport.cluster import Client

_PATIENCE_S = 0.08
_SETTLING_MS = 60_000
_PRUNE_BATCH = 1000
_SAMPLE_SIZE = 20


class IndexPages:
    """Lists and searches tokens by the index, and moves entries of tokens that have ended."""

    def __init__(self, client: Client, reader: RecordReader, index: Index, ended: EndedTokens) -> None:
        self._client: Any = client
        self._reader = reader
        self._index = index
        self._ended = ended
        self.backfill = Backfill(client, reader, index)

    def page(self, number: int, size: int) -> tuple[Sequence[Token], int]:
        """Return the tokens on page *number*, newest first, and the number of all entries."""
        until = time.monotonic() + _PATIENCE_S
        self.backfill.advance()
        start = (number - 1) * size
        while True:
            entries = self._index.ranked(start, size)
            tokens = self.tokens_of(entries)
            if len(tokens) == len(entries) or not self._prune(start) or time.monotonic() > until:
                return tokens, self._index.count()

    def search(self, query: Query, start: str | None, size: int) -> Found:
        """Return the newest tokens from *start* on that match *query*; a long search takes several calls."""
        until = time.monotonic() + _PATIENCE_S
        if start is None:
            self.backfill.advance()
        hits: list[bytes] = []
        following: bytes | None = None
        for entries, after_slice in self._index.walk(*_bounds(query, start)):
            hits += self._hits(query, entries)
            following = hits[size] if len(hits) > size else after_slice
            if len(hits) > size or time.monotonic() > until:
                break
        return self._found(query, hits[:size], following)

    def tokens_of(self, entries: Sequence[bytes]) -> list[Token]:
        """Return the tokens of *entries* whose records have the ids in the entries."""
        found = zip(entries, self._reader.tokens(_digests(entries)), strict=True)
        return [token for entry, token in found if token and token.id == keys.id_of_entry(entry)]

    def old_peppers(self, current: str) -> Iterator[int]:
        """Yield, slice by slice, the number of tokens that are not marked with the pepper *current*."""
        for entries, _ in self._index.walk():
            rows = filter(None, self._reader.fields(_digests(entries), "hosts", "pepper"))
            yield sum(hosts is not None and pepper != current for hosts, pepper in rows)

    def _found(self, query: Query, hits: Sequence[bytes], following: bytes | None) -> Found:
        total = self._index.count()
        searched = self._index.count_above(following) if following else total
        cursor = keys.cursor_of(following) if following else None
        return Found(query, tuple(self.tokens_of(hits)), searched, total, cursor, self.backfill.is_finished())

    def _hits(self, query: Query, entries: Sequence[bytes]) -> list[bytes]:
        if query.kind is Kind.ID:
            return list(entries)
        name = "email" if query.kind is Kind.EMAIL else "hosts"
        rows = self._reader.fields(_digests(entries), name)
        return [
            entry
            for entry, values in zip(entries, rows, strict=True)
            if values and values[0] and _matches_query(query, values[0])
        ]

    def _prune(self, start: int) -> int:
        """Settle a batch of entries; return how many were removed from the index."""
        return self._settle(self._index.ranked(start, _PRUNE_BATCH))

    def _settle(self, entries: Sequence[bytes]) -> int:
        """Move those of *entries* whose tokens have ended, and drop others without a record; count them.

        Recent ones may have no record yet.
        """
        rows = self._reader.fields(_digests(entries), "id", "moved_to")
        missing = [entry for entry, row in zip(entries, rows, strict=True) if not _matches_record(entry, row)]
        if not missing:
            return 0
        ended, (seconds, _) = self._ended.collect(missing), self._client.time()
        gone = [entry for entry in missing if entry in ended or not _is_recent(entry, seconds * 1000)]
        return self._index.drop(*gone)

    def sweep(self) -> bool:
        """Move tokens that have ended, for a moment; return whether this has checked all tokens."""
        until = time.monotonic() + _PATIENCE_S
        first = self._sweep_cursor()
        for entries, following in self._index.walk(b"[" + first if first else b"+"):
            self._settle(entries)
            if following and time.monotonic() > until:
                self._client.set(keys.SWEEP_CURSOR, keys.cursor_of(following))
                return False
        self._client.delete(keys.SWEEP_CURSOR)
        return not first

    def sweep_all(self) -> Iterator[None]:
        """Move all tokens that have ended, and yield after each step."""
        for entries, _ in self._index.walk():
            self._settle(entries)
            yield

    def sweep_some(self) -> None:
        """Move those that have ended of a few tokens chosen at random, so that few are left over time."""
        members = self._index.sample(_SAMPLE_SIZE)
        self._settle([member for member in members if keys.is_entry(member)])

    def _sweep_cursor(self) -> bytes | None:
        """Return where the last sweep stopped, or None if the stored cursor is missing or invalid."""
        try:
            cursor = (self._client.get(keys.SWEEP_CURSOR) or b"").decode(errors="replace")
        except redis.ResponseError:
            return None
        return keys.entry_of(cursor) if CURSOR.fullmatch(cursor) else None


def _bounds(query: Query, start: str | None) -> tuple[bytes, bytes]:
    is_id = query.kind is Kind.ID
    lower = b"[" + query.text.encode() if is_id else b"-"
    if start is None:
        return (b"[" + upper_bound(query.text) if is_id else b"+"), lower
    return b"[" + (keys.entry_of(start) if CURSOR.fullmatch(start) else upper_bound(start)), lower


def _matches_record(entry: bytes, values: Fields | None) -> bool:
    """Tell whether *entry* has a record with its id; *values* are the record's id and moved_to."""
    if values is None:
        return False
    digest, (stored_id, moved_to) = keys.digest_of_entry(entry), values
    return not records.where(digest, moved_to) and records.id_of(digest, stored_id) == keys.id_of_entry(entry)


def _is_recent(entry: bytes, now_ms: int) -> bool:
    return abs(now_ms - id_time_ms(keys.id_of_entry(entry))) < _SETTLING_MS


def _matches_query(query: Query, text: str) -> bool:
    if query.kind is Kind.EMAIL:
        return query.text in text.lower()
    return not query.patterns.isdisjoint(Hosts().from_record(text))


def _digests(entries: Sequence[bytes]) -> list[str]:
    return [keys.digest_of_entry(entry) for entry in entries]
