"""The search for tokens that others wrote: an older deployment, or a restored backup."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from app.store import keys, records
from app.store.cluster import Client
from app.store.reader import Reader
from app.store.scripts import Script

_SCAN_COUNT = 500
_STEPS_PER_VIEW = 2
_FEW_KEYS = 2000


class Adoption:
    """Puts tokens into the index that lack an entry; never blocks Redis for long."""

    def __init__(self, client: Client, reader: Reader) -> None:
        self._client: Any = client
        self._reader = reader
        self._enroll = Script("enroll")

    def go_on(self) -> None:
        """Search a little, from where the last search stopped; all of it if there are few keys."""
        steps = _FEW_KEYS if self._client.dbsize() <= _FEW_KEYS else _STEPS_PER_VIEW
        cursor = int(self._client.get(keys.ADOPTION_CURSOR) or 0)
        for _ in range(steps):
            cursor = self.step(cursor)
            if cursor == 0:
                break
        self._client.set(keys.ADOPTION_CURSOR, cursor)

    def step(self, cursor: int) -> int:
        """Search the keys at *cursor* of SCAN and return the next; 0 is both the first and the last."""
        cursor, names = self._client.scan(cursor, match=keys.RECORD_PATTERN, count=_SCAN_COUNT)
        digests = [digest for name in names if (digest := keys.digest_in(name))]
        if entries := self._entries(digests):
            self._enroll.run(self._client, [keys.INDEX], [b"".join(entries)])
        if int(cursor) == 0:
            self._client.set(keys.ADOPTED, 1)
        return int(cursor)

    def is_finished(self) -> bool:
        """Tell whether every key was searched at least once."""
        return bool(self._client.exists(keys.ADOPTED))

    def _entries(self, digests: Sequence[str]) -> list[bytes]:
        """Return the entries that those of *digests* need whose key holds a token."""
        said = zip(digests, self._reader.fields(digests, "id", "moved_to"), strict=True)
        ids = {digest: token_id for digest, (token_id, moved_to) in said if moved_to is None}
        nameless = [digest for digest, token_id in ids.items() if token_id is None]
        for digest, values in zip(nameless, self._reader.fields(nameless, *records.TELLING), strict=True):
            if not records.is_token(values):
                del ids[digest]
        return [keys.index_entry(records.id_of(digest, token_id), digest) for digest, token_id in ids.items()]
