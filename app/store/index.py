"""The index of tokens. Others may have written to it: what is no entry is dropped, another type replaced."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import redis

from app.store import keys
from app.store.transport.cluster import Client
from app.store.transport.deadlines import is_wrong_type
from app.store.transport.scripts import Script

_SLICE = 250
_T = TypeVar("_T")
_log = logging.getLogger(__name__)


class Index:
    """Keeps one entry for every token, so that they are listed by age and found by id."""

    def __init__(self, client: Client) -> None:
        self._client: Any = client
        self._enroll = Script("enroll")
        self._cut = Script("slice")

    def add(self, *entries: bytes) -> None:
        """Put in *entries*, which may be there already."""
        if entries:
            self._mended(lambda: self._enroll.run(self._client, [keys.INDEX], [b"".join(entries)]))

    def drop(self, *entries: bytes) -> int:
        """Take out *entries*; return how many were there."""
        return int(self._mended(lambda: self._client.zrem(keys.INDEX, *entries))) if entries else 0

    def count(self) -> int:
        """Return how many entries there are."""
        return int(self._mended(lambda: self._client.zcard(keys.INDEX)))

    def count_above(self, entry: bytes) -> int:
        """Return how many entries are newer than *entry*."""
        return int(self._mended(lambda: self._client.zlexcount(keys.INDEX, b"(" + entry, b"+")))

    def ranked(self, start: int, count: int) -> list[bytes]:
        """Return *count* entries, newest first, from number *start* on; what is none is dropped first."""
        while True:
            found = self._mended(lambda: self._client.zrange(keys.INDEX, start, start + count - 1, desc=True))
            if not self._drop_junk(found):
                return list(found)

    def beginning(self, token_id: str, most: int) -> list[bytes]:
        """Return at most as many entries of that id."""
        low, high = b"[" + token_id.encode(), b"[" + upper_bound(token_id)
        while True:
            found = self._mended(
                lambda: self._client.zrange(keys.INDEX, low, high, bylex=True, offset=0, num=most)
            )
            if not self._drop_junk(found):
                return list(found)

    def walk(self, upper: bytes = b"+", lower: bytes = b"-") -> Iterator[tuple[list[bytes], bytes | None]]:
        """Yield the entries between two bounds, newest first: slices, each with the entry behind it."""
        bound: bytes | None = upper
        while bound:
            entries = self._slice(bound, lower)
            rest = entries[_SLICE] if len(entries) > _SLICE else None
            yield entries[:_SLICE], rest
            bound = b"[" + rest if rest else None

    def _slice(self, upper: bytes, lower: bytes) -> list[bytes]:
        args = [upper, lower, _SLICE + 1, keys.ENTRY_BYTES]
        while True:
            cut, *junk = self._mended(lambda: self._cut.run(self._client, [keys.INDEX], args))
            entries = [cut[i : i + keys.ENTRY_BYTES] for i in range(0, len(cut), keys.ENTRY_BYTES)]
            if not self._drop_junk([*junk, *entries]):
                return entries

    def _drop_junk(self, members: Sequence[bytes]) -> bool:
        junk = [member for member in members if not keys.is_entry(member)]
        if junk:
            self._client.zrem(keys.INDEX, *junk)
        return bool(junk)

    def _mended(self, act: Callable[[], _T]) -> _T:
        """Do *act*; an index of another type is made anew, from the records that the adoption finds."""
        try:
            return act()
        except redis.ResponseError as error:
            if not is_wrong_type(error):
                raise
        _log.error("%s in Redis is no index; it is made anew", keys.INDEX)
        for name in (keys.INDEX, keys.ADOPTION_CURSOR, keys.ADOPTED):
            self._client.delete(name)
        return act()


def upper_bound(start: str) -> bytes:
    """Return what sorts behind every entry of an id that begins so, and before all others."""
    return start.encode() + b"\xff" * keys.ENTRY_BYTES
