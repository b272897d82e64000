"""A cache bounded in bytes, so that clients can't fill the memory with it."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class BoundedCache(Generic[K, V]):
    """Caches the results of *make*, up to *max_bytes* in total; *size_of* estimates the bytes of an entry.

    The cache is emptied when the next entry does not fit, so a flood of new keys costs no more
    than calling *make* for each. An entry larger than 1/256 of *max_bytes* is not cached.
    """

    def __init__(self, make: Callable[[K], V], size_of: Callable[[K, V], int], max_bytes: int) -> None:
        self._make = make
        self._size_of = size_of
        self._max_bytes = max_bytes
        self._kept: dict[K, V] = {}
        self._bytes = 0

    def __call__(self, key: K) -> V:
        """Return the value of *make* for *key*, cached if possible."""
        value = self._kept.get(key)
        return self._add(key) if value is None else value

    def _add(self, key: K) -> V:
        value = self._make(key)
        size = self._size_of(key, value)
        if size > self._max_bytes // 256:
            return value
        if self._bytes + size > self._max_bytes:
            self._kept.clear()
            self._bytes = 0
        self._kept[key] = value
        self._bytes += size
        return value
