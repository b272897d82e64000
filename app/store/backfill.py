"""The search for tokens without an index entry: an older deployment, or a restored backup, wrote them.

See docs/decisions/0002.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import redis

from app.store import keys, records
from app.store.index import Index
from app.store.index_records import RecordReader
from app.store.scores import Scores
from app.store.transport.cluster import Client

_SCAN_COUNT = 500
_STEPS_PER_VIEW = 2
_FEW_KEYS = 2000


class Backfill:
    """Adds missing entries to the index, in steps short enough not to block Redis."""

    def __init__(self, client: Client, reader: RecordReader, index: Index, scores: Scores) -> None:
        self._client: Any = client
        self._reader = reader
        self._index = index
        self._scores = scores

    def advance(self) -> None:
        """Scan some keys from where the last scan stopped, or all keys if there are few."""
        steps = _FEW_KEYS if self._client.dbsize() <= _FEW_KEYS else _STEPS_PER_VIEW
        cursor = self._cursor()
        for _ in range(steps):
            cursor = self.step(cursor)
            if cursor == 0:
                break
        self._client.set(keys.BACKFILL_CURSOR, cursor)

    def step(self, cursor: int) -> int:
        """Scan the keys at *cursor* of SCAN and return the next cursor; 0 is both the first and the last."""
        cursor, names = self._client.scan(cursor, match=keys.RECORD_PATTERN, count=_SCAN_COUNT)
        digests = [digest for name in names if (digest := keys.digest_in(name))]
        if added := self._index.add(*self._entries(digests)):
            self._scores.correct(added)
        if int(cursor) == 0:
            self._client.set(keys.BACKFILL_FINISHED, 1)
        return int(cursor)

    def is_finished(self) -> bool:
        """Tell whether every key was scanned at least once."""
        return bool(self._client.exists(keys.BACKFILL_FINISHED))

    def _cursor(self) -> int:
        """Return where the last scan stopped, or 0 if the stored cursor is missing or invalid."""
        try:
            cursor = int(self._client.get(keys.BACKFILL_CURSOR) or 0)
        except (redis.ResponseError, ValueError):
            return 0
        return cursor if 0 <= cursor < keys.MAX_CURSOR else 0

    def _entries(self, digests: Sequence[str]) -> list[bytes]:
        """Return the index entries of those *digests* whose record exists and has not moved."""
        values_of = zip(digests, self._reader.fields(digests, "id", "moved_to"), strict=True)
        return [
            keys.index_entry(records.id_of(digest, values[0]), digest)
            for digest, values in values_of
            if values and not records.where(digest, values[1])
        ]
