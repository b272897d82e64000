from __future__ import annotations

from app.core.cache import BoundedCache


def test_computed_once() -> None:
    """A cached value is not computed again."""
    computed: list[int] = []

    def compute(key: int) -> int:
        computed.append(key)
        return key + 1

    cache = BoundedCache(compute, lambda *_: 1, 256)

    assert [cache(key) for key in (1, 2, 1, 2)] == [2, 3, 2, 3]
    assert computed == [1, 2]


def test_bounded() -> None:
    """Whatever the keys, the cached entries stay below the bound, and every result is correct."""
    cache: BoundedCache[int, str] = BoundedCache(
        lambda key: "x" * (key % 7), lambda _, value: len(value) + 1, 1024
    )
    for key in range(5000):
        assert cache(key) == "x" * (key % 7)
        assert sum(len(value) + 1 for value in cache._kept.values()) <= 1024


def test_large_entry() -> None:
    """A large entry is not cached, so that it does not evict all others."""
    cache: BoundedCache[int, int] = BoundedCache(lambda key: key, lambda _, value: value, 2560)
    for key in (1, 11, 2):
        cache(key)

    assert set(cache._kept) == {1, 2}
