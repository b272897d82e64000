"""A cache that what clients send can't fill."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class BoundedCache(Generic[K, V]):
    """Keeps what *make* returns, at most *max_bytes* of it as *size_of* an entry counts them.

    It begins anew when the next entry does not fit, so a flood of new keys costs what *make* costs; an entry
    of more than 1/256 of it is not kept.
    """

    def __init__(self, make: Callable[[K], V], size_of: Callable[[K, V], int], max_bytes: int) -> None:
        self._make = make
        self._size_of = size_of
        self._max_bytes = max_bytes
        self._kept: dict[K, V] = {}
        self._bytes = 0

    def __call__(self, key: K) -> V:
        """Return what *make* returned for *key*, now or before."""
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
