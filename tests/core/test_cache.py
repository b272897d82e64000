from __future__ import annotations

from app.core.cache import BoundedCache


def test_asked_once() -> None:
    """What is kept is not made again."""
    made: list[int] = []

    def make(key: int) -> int:
        made.append(key)
        return key + 1

    cache = BoundedCache(make, lambda *_: 1, 256)

    assert [cache(key) for key in (1, 2, 1, 2)] == [2, 3, 2, 3]
    assert made == [1, 2]


def test_bounded() -> None:
    """However many keys come, what is kept stays below the bound, and every answer is right."""
    cache: BoundedCache[int, str] = BoundedCache(
        lambda key: "x" * (key % 7), lambda _, value: len(value) + 1, 1024
    )
    for key in range(5000):
        assert cache(key) == "x" * (key % 7)
        assert sum(len(value) + 1 for value in cache._kept.values()) <= 1024


def test_large() -> None:
    """One large entry does not push all others out: it is not kept."""
    cache: BoundedCache[int, int] = BoundedCache(lambda key: key, lambda _, value: value, 2560)
    for key in (1, 11, 2):
        cache(key)

    assert set(cache._kept) == {1, 2}
