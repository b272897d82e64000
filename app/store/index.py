"""The index of tokens, and its orders by expiry and by last use (docs/decisions/0002 and 0027).

Other programs may have written to its keys: invalid members are removed, a key of another type is rebuilt.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple, TypeVar

from app.core.listing import NEVER, Sort
from app.store import keys
from app.store.repair import repaired
from app.store.transport.cluster import Client
from app.store.transport.scripts import Script

_SLICE_SIZE = 250
# Of entries without a score, those with one are skipped at little cost.
_UNSCORED = 500
_ALL = (keys.INDEX, keys.EXPIRES_AT, keys.LAST_USED_AT)
# What says that a key is complete.
_STATES_OF = {
    keys.INDEX: (keys.BACKFILL_CURSOR, keys.BACKFILL_FINISHED),
    keys.EXPIRES_AT: (keys.CENSUS, keys.CENSUS_LOCK),
    keys.LAST_USED_AT: (keys.CENSUS, keys.CENSUS_LOCK),
}
_KEY_OF = {Sort.EXPIRES_AT: keys.EXPIRES_AT, Sort.LAST_USED_AT: keys.LAST_USED_AT}
_LOWEST, _HIGHEST = b"0" * 16 + bytes(32), b"z" * 16 + b"\xff" * 32
_NO_SCORE, _UNCHANGED = "-", "="
_T = TypeVar("_T")
_log = logging.getLogger(__name__)


class Place(NamedTuple):
    """An entry and its score in an order: NEVER if it has none, "" in the order of creation."""

    entry: bytes
    score: str = ""


Slices = Iterator[tuple[list[Place], Place | None]]


class Index:
    """Holds one entry for each token, which lists tokens in any order and finds them by id."""

    def __init__(self, client: Client) -> None:
        self._client: Any = client
        self._enroll, self._score = Script("enroll"), Script("score")
        self._slice_script, self._sorted = Script("slice"), Script("sorted")
        self._namesakes = Script("namesakes")

    def add(self, *entries: bytes, expires_at: int | None = None, like: bytes = b"") -> list[bytes]:
        """Add *entries*, unused and with that expiry, or with the scores of *like*; return the new ones."""
        if not entries:
            return []
        args = [b"".join(entries), _score(expires_at), like]
        return _split(self._repaired(lambda: self._enroll.run(self._client, _ALL, args)))

    def score(self, times: Mapping[bytes, tuple[int | None, int | None]]) -> None:
        """Give entries the expiries and last uses of their tokens, in seconds, None for never."""
        self._score_all(
            {entry: f"{_score(expiry)} {_score(used)}" for entry, (expiry, used) in times.items()}
        )

    def expire(self, entry: bytes, expires_at: int | None) -> None:
        """Give *entry* another expiry."""
        self._score_all({entry: f"{_score(expires_at)} {_UNCHANGED}"})

    def _score_all(self, scores: Mapping[bytes, str]) -> None:
        if scores:
            args = [b"".join(scores), " ".join(scores.values())]
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

    def namesakes(self, entries: Sequence[bytes]) -> list[bytes | None]:
        """Return for each of *entries* another entry with the same id, or None."""
        args = [b"".join(entries)]
        found = _split(self._repaired(lambda: self._namesakes.run(self._client, [keys.INDEX], args)))
        return [other if keys.is_entry(other) else None for other in found]

    def walk(
        self, first: bytes = b"+", last: bytes = b"-", *, descending: bool = True
    ) -> Iterator[tuple[list[bytes], bytes | None]]:
        """Yield slices of the entries from one bound to another, each with the entry after it."""
        following: bytes | None = first
        while following:
            entries, after = self._slice([keys.INDEX], following, last, _SLICE_SIZE, descending=descending)
            following = b"[" + after if after else None
            yield entries, after

    def walk_sorted(self, sort: Sort, start: Place | None, *, descending: bool) -> Slices:
        """Yield slices of the entries in that order, each with the place after it."""
        edge, highest = (_HIGHEST, "inf") if descending else (_LOWEST, "-inf")
        parts = [Place(edge, highest), Place(edge, NEVER)]
        if (sort is Sort.EXPIRES_AT) is descending:
            parts.reverse()
        if start:
            is_in_first = (start.score == NEVER) is (parts[0].score == NEVER)
            parts = [start, *(parts[1:] if is_in_first else ())]
        for part, after in zip_longest(parts, parts[1:]):
            for places, following in self._walk_part(sort, part, descending=descending):
                yield places, following or after

    def _walk_part(self, sort: Sort, start: Place, *, descending: bool) -> Slices:
        """Yield slices of the entries that have a score, or of those without one."""
        following: Place | None = start
        while following:
            if following.score == NEVER:
                places, following = self._slice_unscored(sort, following.entry, descending=descending)
            else:
                places, following = self._slice_scored(sort, following, descending=descending)
            yield places, following

    def _slice_unscored(
        self, sort: Sort, start: bytes, *, descending: bool
    ) -> tuple[list[Place], Place | None]:
        names, last = [keys.INDEX, _KEY_OF[sort]], b"-" if descending else b"+"
        entries, after = self._slice(names, b"[" + start, last, _UNSCORED, descending=descending)
        return [Place(entry, NEVER) for entry in entries], Place(after, NEVER) if after else None

    def _slice_scored(
        self, sort: Sort, start: Place, *, descending: bool
    ) -> tuple[list[Place], Place | None]:
        args = [int(descending), start.score, start.entry, _SLICE_SIZE + 1, keys.ENTRY_BYTES]
        while True:
            joined, scores, *invalid = self._repaired(
                lambda: self._sorted.run(self._client, [_KEY_OF[sort]], args)
            )
            entries = _split(joined)
            if not self._drop_invalid([*invalid, *entries]):
                places = [*map(Place, entries, scores.decode().replace("+", "").split())]
                return places[:_SLICE_SIZE], places[_SLICE_SIZE] if len(places) > _SLICE_SIZE else None

    def _slice(
        self, names: Sequence[str], first: bytes, last: bytes, size: int, *, descending: bool
    ) -> tuple[list[bytes], bytes | None]:
        args = [first, last, int(descending), size, keys.ENTRY_BYTES]
        while True:
            after, joined, *invalid = self._repaired(
                lambda: self._slice_script.run(self._client, names, args)
            )
            entries = _split(joined)
            if not self._drop_invalid([*invalid, *entries, *filter(None, [after])]):
                return entries, after or None

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
                for stale in (name, *_STATES_OF[name]):
                    self._client.delete(stale)


def _score(second: int | None) -> str:
    return _NO_SCORE if second is None else f"{second}"


def _split(joined: bytes) -> list[bytes]:
    return [joined[i : i + keys.ENTRY_BYTES] for i in range(0, len(joined), keys.ENTRY_BYTES)]


def upper_bound(start: str) -> bytes:
    """Return a bound that sorts after every entry whose id starts with *start*, and before all later ones."""
    return start.encode() + b"\xff" * keys.ENTRY_BYTES
