"""Pages of the index, and the removal of tokens that have ended from it (docs/decisions/0002 and 0025).

The time for one request is limited, however many tokens there are.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import redis

from app.core.search import CURSOR
from app.core.tokens import Token, id_time_ms
from app.store import keys, records
from app.store.backfill import Backfill
from app.store.ended import EndedTokens
from app.store.index import Index
from app.store.index_records import Fields, RecordReader
from app.store.transport.cluster import Client

_PATIENCE_S = 0.08
_SETTLING_MS = 60_000
_PRUNE_BATCH = 1000
_SAMPLE_SIZE = 20


class IndexPages:
    """Lists tokens by the index, and moves entries of tokens that have ended."""

    def __init__(
        self, client: Client, reader: RecordReader, index: Index, ended: EndedTokens, backfill: Backfill
    ) -> None:
        self._client: Any = client
        self._reader = reader
        self._index = index
        self._ended = ended
        self.backfill = backfill

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

    def tokens_of(self, entries: Sequence[bytes]) -> list[Token]:
        """Return the tokens of *entries* whose records have the ids in the entries."""
        found = zip(entries, self._reader.tokens(_digests(entries)), strict=True)
        return [token for entry, token in found if token and token.id == keys.id_of_entry(entry)]

    def old_peppers(self, current: str) -> Iterator[int]:
        """Yield, slice by slice, the number of tokens that are not marked with the pepper *current*."""
        for entries, _ in self._index.walk():
            rows = filter(None, self._reader.fields(_digests(entries), "hosts", "pepper"))
            yield sum(hosts is not None and pepper != current for hosts, pepper in rows)

    def _prune(self, start: int) -> int:
        """Settle a batch of entries; return how many were removed from the index."""
        return self.settle(self._index.ranked(start, _PRUNE_BATCH))

    def settle(self, entries: Sequence[bytes]) -> int:
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
            self.settle(entries)
            if following and time.monotonic() > until:
                self._client.set(keys.SWEEP_CURSOR, keys.cursor_of(following))
                return False
        self._client.delete(keys.SWEEP_CURSOR)
        return not first

    def sweep_all(self) -> Iterator[None]:
        """Move all tokens that have ended, and yield after each step."""
        for entries, _ in self._index.walk():
            self.settle(entries)
            yield

    def sweep_some(self) -> None:
        """Move those that have ended of a few tokens chosen at random, so that few are left over time."""
        members = self._index.sample(_SAMPLE_SIZE)
        self.settle([member for member in members if keys.is_entry(member)])

    def _sweep_cursor(self) -> bytes | None:
        """Return where the last sweep stopped, or None if the stored cursor is missing or invalid."""
        try:
            cursor = (self._client.get(keys.SWEEP_CURSOR) or b"").decode(errors="replace")
        except redis.ResponseError:
            return None
        return keys.entry_of(cursor) if CURSOR.fullmatch(cursor) else None


def _matches_record(entry: bytes, values: Fields | None) -> bool:
    """Tell whether *entry* has a record with its id; *values* are the record's id and moved_to."""
    if values is None:
        return False
    digest, (stored_id, moved_to) = keys.digest_of_entry(entry), values
    return not records.where(digest, moved_to) and records.id_of(digest, stored_id) == keys.id_of_entry(entry)


def _is_recent(entry: bytes, now_ms: int) -> bool:
    return abs(now_ms - id_time_ms(keys.id_of_entry(entry))) < _SETTLING_MS


def _digests(entries: Sequence[bytes]) -> list[str]:
    return [keys.digest_of_entry(entry) for entry in entries]
