"""The search for tokens that others wrote: an older deployment, or a restored backup."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import redis

from app.store import keys, records
from app.store.index import Index
from app.store.index_records import Reader
from app.store.transport.cluster import Client

_SCAN_COUNT = 500
_STEPS_PER_VIEW = 2
_FEW_KEYS = 2000


class Adoption:
    """Puts tokens into the index that lack an entry; never blocks Redis for long."""

    def __init__(self, client: Client, reader: Reader, index: Index) -> None:
        self._client: Any = client
        self._reader = reader
        self._index = index

    def go_on(self) -> None:
        """Search a little, from where the last search stopped; all of it if there are few keys."""
        steps = _FEW_KEYS if self._client.dbsize() <= _FEW_KEYS else _STEPS_PER_VIEW
        cursor = self._cursor()
        for _ in range(steps):
            cursor = self.step(cursor)
            if cursor == 0:
                break
        self._client.set(keys.ADOPTION_CURSOR, cursor)

    def step(self, cursor: int) -> int:
        """Search the keys at *cursor* of SCAN and return the next; 0 is both the first and the last."""
        cursor, names = self._client.scan(cursor, match=keys.RECORD_PATTERN, count=_SCAN_COUNT)
        digests = [digest for name in names if (digest := keys.digest_in(name))]
        self._index.add(*self._entries(digests))
        if int(cursor) == 0:
            self._client.set(keys.ADOPTED, 1)
        return int(cursor)

    def is_finished(self) -> bool:
        """Tell whether every key was searched at least once."""
        return bool(self._client.exists(keys.ADOPTED))

    def _cursor(self) -> int:
        """Return where the last search stopped, the beginning if nobody can tell."""
        try:
            kept = int(self._client.get(keys.ADOPTION_CURSOR) or 0)
        except (redis.ResponseError, ValueError):
            return 0
        return kept if 0 <= kept < keys.MAX_CURSOR else 0

    def _entries(self, digests: Sequence[str]) -> list[bytes]:
        """Return the entries that those of *digests* need whose record is there and has not moved."""
        said = zip(digests, self._reader.fields(digests, "id", "moved_to"), strict=True)
        return [
            keys.index_entry(records.id_of(digest, values[0]), digest)
            for digest, values in said
            if values and not records.where(digest, values[1])
        ]
