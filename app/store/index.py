"""The index of tokens (docs/decisions/0002).

Other programs may have written to its key: invalid members are removed, and a key of another type is rebuilt.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from app.store import keys
from app.store.repair import repaired
from app.store.transport.cluster import Client
from app.store.transport.scripts import Script

_SLICE_SIZE = 250
_T = TypeVar("_T")
_log = logging.getLogger(__name__)


class Index:
    """Holds one entry for each token, which lists tokens by age and finds them by id."""

    def __init__(self, client: Client) -> None:
        self._client: Any = client
        self._enroll = Script("enroll")
        self._slice_script = Script("slice")
        self._namesakes = Script("namesakes")

    def add(self, *entries: bytes) -> None:
        """Add *entries*; existing ones are left unchanged."""
        if entries:
            self._repaired(lambda: self._enroll.run(self._client, [keys.INDEX], [b"".join(entries)]))

    def drop(self, *entries: bytes) -> int:
        """Remove *entries*; return how many of them existed."""
        return int(self._repaired(lambda: self._client.zrem(keys.INDEX, *entries))) if entries else 0

    def count(self) -> int:
        """Return the number of entries."""
        return int(self._repaired(lambda: self._client.zcard(keys.INDEX)))

    def count_above(self, entry: bytes) -> int:
        """Return the number of entries that are newer than *entry*."""
        return int(self._repaired(lambda: self._client.zlexcount(keys.INDEX, b"(" + entry, b"+")))

    def ranked(self, start: int, count: int) -> list[bytes]:
        """Return *count* entries from rank *start* on, newest first, after removing invalid members."""
        while True:
            found = self._repaired(
                lambda: self._client.zrange(keys.INDEX, start, start + count - 1, desc=True)
            )
            if not self._drop_invalid(found):
                return list(found)

    def sample(self, count: int) -> list[bytes]:
        """Return at most *count* members at random."""
        return list(self._repaired(lambda: self._client.zrandmember(keys.INDEX, count)))

    def entries_of(self, token_id: str, limit: int) -> list[bytes]:
        """Return at most *limit* entries of the token with that id."""
        low, high = b"[" + token_id.encode(), b"[" + upper_bound(token_id)
        while True:
            found = self._repaired(
                lambda: self._client.zrange(keys.INDEX, low, high, bylex=True, offset=0, num=limit)
            )
            if not self._drop_invalid(found):
                return list(found)

    def namesakes(self, entries: Sequence[bytes]) -> list[bytes | None]:
        """Return for each of *entries* another entry with the same id, or None."""
        joined = self._repaired(lambda: self._namesakes.run(self._client, [keys.INDEX], [b"".join(entries)]))
        found = (joined[i : i + keys.ENTRY_BYTES] for i in range(0, len(joined), keys.ENTRY_BYTES))
        return [other if keys.is_entry(other) else None for other in found]

    def walk(self, upper: bytes = b"+", lower: bytes = b"-") -> Iterator[tuple[list[bytes], bytes | None]]:
        """Yield slices of the entries between two bounds, newest first, each with the entry after it."""
        bound: bytes | None = upper
        while bound:
            entries = self._slice(bound, lower)
            following = entries[_SLICE_SIZE] if len(entries) > _SLICE_SIZE else None
            yield entries[:_SLICE_SIZE], following
            bound = b"[" + following if following else None

    def _slice(self, upper: bytes, lower: bytes) -> list[bytes]:
        args = [upper, lower, _SLICE_SIZE + 1, keys.ENTRY_BYTES]
        while True:
            joined, *invalid = self._repaired(
                lambda: self._slice_script.run(self._client, [keys.INDEX], args)
            )
            entries = [joined[i : i + keys.ENTRY_BYTES] for i in range(0, len(joined), keys.ENTRY_BYTES)]
            if not self._drop_invalid([*invalid, *entries]):
                return entries

    def _drop_invalid(self, members: Sequence[bytes]) -> bool:
        invalid = [member for member in members if not keys.is_entry(member)]
        if invalid:
            self._client.zrem(keys.INDEX, *invalid)
        return bool(invalid)

    def _repaired(self, call: Callable[[], _T]) -> _T:
        return repaired(call, self._discard)

    def _discard(self) -> None:
        """Delete an index of another type, which a backfill rebuilds."""
        _log.error("%s in Redis is not an index; rebuilding it", keys.INDEX)
        for name in (keys.INDEX, keys.BACKFILL_CURSOR, keys.BACKFILL_FINISHED):
            self._client.delete(name)


def upper_bound(start: str) -> bytes:
    """Return a bound that sorts after every entry whose id starts with *start*, and before all later ones."""
    return start.encode() + b"\xff" * keys.ENTRY_BYTES
