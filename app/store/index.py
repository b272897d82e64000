"""The index of tokens, and its orders by expiry and by last use (docs/decisions/0002 and 0027).

Other programs may have written to its keys: invalid members are removed, a key of another type is rebuilt.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from app.core.listing import Sort
from app.store import keys
from app.store.repair import repaired
from app.store.transport.cluster import Client
from app.store.transport.scripts import Script

_SLICE_SIZE = 250
_ALL = (keys.INDEX, keys.EXPIRES_AT, keys.LAST_USED_AT)
_KEY_OF = {Sort.EXPIRES_AT: keys.EXPIRES_AT, Sort.LAST_USED_AT: keys.LAST_USED_AT}
NEVER = "inf"
UNCHANGED = "-"
_T = TypeVar("_T")
_log = logging.getLogger(__name__)


class Place(NamedTuple):
    """An entry and its score in an order, "" in the order of creation."""

    entry: bytes
    score: str = ""


class Index:
    """Holds one entry for each token, which lists tokens in any order and finds them by id."""

    def __init__(self, client: Client) -> None:
        self._client: Any = client
        self._enroll, self._score = Script("enroll"), Script("score")
        self._slice_script, self._sorted = Script("slice"), Script("sorted")

    def add(self, *entries: bytes, expires_at: int | None = None, like: bytes = b"") -> list[bytes]:
        """Add *entries*, unused and with that expiry, or with the scores of *like*; return the new ones."""
        if not entries:
            return []
        args = [b"".join(entries), NEVER if expires_at is None else expires_at, like]
        return _split(self._repaired(lambda: self._enroll.run(self._client, _ALL, args)))

    def score(self, scores: Mapping[bytes, tuple[Any, Any]]) -> None:
        """Give entries that exist their expiries and last uses, each NEVER, UNCHANGED or a second."""
        if scores:
            texts = [f"{expiry} {used}" for expiry, used in scores.values()]
            args = [b"".join(scores), " ".join(texts)]
            self._repaired(lambda: self._score.run(self._client, _ALL, args))

    def drop(self, *entries: bytes) -> int:
        """Remove *entries*; return how many of them existed."""
        return int(self._repaired(lambda: self._remove(entries))) if entries else 0

    def _remove(self, entries: Sequence[bytes]) -> int:
        """Remove *entries*; in no transaction, for which a server needs memory that it may not have."""
        pipe = self._client.pipeline(transaction=False)
        for name in reversed(_ALL):
            pipe.zrem(name, *entries)
        return int(pipe.execute()[-1])

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

    def walk(
        self, first: bytes = b"+", last: bytes = b"-", *, descending: bool = True
    ) -> Iterator[tuple[list[bytes], bytes | None]]:
        """Yield slices of the entries from one bound to another, each with the entry after it."""
        bound: bytes | None = first
        while bound:
            entries = self._slice(bound, last, descending=descending)
            following = entries[_SLICE_SIZE] if len(entries) > _SLICE_SIZE else None
            yield entries[:_SLICE_SIZE], following
            bound = b"[" + following if following else None

    def walk_sorted(
        self, sort: Sort, start: Place | None, *, descending: bool
    ) -> Iterator[tuple[list[Place], Place | None]]:
        """Yield slices of the entries in the order of their scores, each with the place after it."""
        following: Place | None = start or Place(b"")
        while following:
            places = self._sorted_slice(sort, following, descending=descending)
            following = places[_SLICE_SIZE] if len(places) > _SLICE_SIZE else None
            yield places[:_SLICE_SIZE], following

    def is_sorted(self, sort: Sort) -> bool:
        """Tell whether every entry has a score."""
        args = [1, "", "", 1, keys.ENTRY_BYTES]
        _, missing, *_ = self._repaired(
            lambda: self._sorted.run(self._client, [_KEY_OF[sort], keys.INDEX], args)
        )
        return int(missing) <= 0

    def _slice(self, first: bytes, last: bytes, *, descending: bool) -> list[bytes]:
        args = [first, last, int(descending), _SLICE_SIZE + 1, keys.ENTRY_BYTES]
        while True:
            joined, *invalid = self._repaired(
                lambda: self._slice_script.run(self._client, [keys.INDEX], args)
            )
            entries = _split(joined)
            if not self._drop_invalid([*invalid, *entries]):
                return entries

    def _sorted_slice(self, sort: Sort, start: Place, *, descending: bool) -> list[Place]:
        args = [int(descending), start.score, start.entry, _SLICE_SIZE + 1, keys.ENTRY_BYTES]
        while True:
            _, _, joined, scores, *invalid = self._repaired(
                lambda: self._sorted.run(self._client, [_KEY_OF[sort], keys.INDEX], args)
            )
            entries = _split(joined)
            if not self._drop_invalid([*invalid, *entries]):
                return [*map(Place, entries, scores.decode().split())]

    def _drop_invalid(self, members: Sequence[bytes]) -> bool:
        invalid = [member for member in members if not keys.is_entry(member)]
        self.drop(*invalid)
        return bool(invalid)

    def _repaired(self, call: Callable[[], _T]) -> _T:
        return repaired(call, self._discard)

    def _discard(self) -> None:
        """Delete those keys that are of another type; a backfill rebuilds the index, a census the others."""
        for name in _ALL:
            if self._client.type(name) not in {b"zset", b"none"}:
                _log.error("%s in Redis is not an index; rebuilding it", name)
                self._client.delete(name)
                if name == keys.INDEX:
                    self._client.delete(keys.BACKFILL_CURSOR)
                    self._client.delete(keys.BACKFILL_FINISHED)


def _split(joined: bytes) -> list[bytes]:
    return [joined[i : i + keys.ENTRY_BYTES] for i in range(0, len(joined), keys.ENTRY_BYTES)]


def upper_bound(start: str) -> bytes:
    """Return a bound that sorts after every entry whose id starts with *start*, and before all later ones."""
    return start.encode() + b"\xff" * keys.ENTRY_BYTES
