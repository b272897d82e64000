"""Searches find tokens by id, host and email, and each call takes a limited time."""

from __future__ import annotations

from typing import Any

import pytest

from app.core.catalog import Catalog
from app.core.listing import Filter
from app.core.peppers import Peppers
from app.core.search import Found, understand
from app.core.tokens import inherited_id, mint_id
from app.store import keys, listings
from app.store.pepper_check import PepperCheck
from app.store.tokens import RedisTokens
from devkit.builders import ACTOR, NOW, make_token
from devkit.replica import make_changes


def store_of(client: Any) -> RedisTokens:
    """Return the store under test."""
    return RedisTokens(client, PepperCheck(client, ["f"]), deadline_s=2)


def catalog_of(client: Any) -> Catalog:
    """Return the catalog of the store under test."""
    return Catalog(store_of(client), Peppers("pepper"), "acl")


def add(client: Any, number: int, *hosts: str, **fields: Any) -> str:
    """Store a token created *number* seconds after NOW; return its id."""
    defaults = {"id": mint_id((NOW + number) * 1000), "hosts": hosts or ("a.test",)}
    token = make_token(f"{number:064x}", **defaults | fields)
    make_changes(client).add(ACTOR, token)
    return token.id


def find(client: Any, typed: str, start: str | None = None, size: int = 50) -> Found:
    """Search once."""
    return search(catalog_of(client), typed, start, size)


def search(catalog: Catalog, typed: str, start: str | None = None, size: int = 50) -> Found:
    """Search once in a catalog."""
    return catalog.listed(Filter(query=understand(typed, "acl")), start=start, size=size)


def ids(found: Found) -> list[str]:
    """Return the ids of the tokens in *found*."""
    return [token.id for token in found.tokens]


def add_inherited(client: Any, count: int, hosts: str = "other.test") -> None:
    """Store tokens as an older deployment wrote them, with index entries."""
    pipe = client.pipeline(transaction=False)
    for number in range(count):
        digest = f"{number:064x}"[::-1]
        pipe.hset(keys.record(digest), "hosts", hosts)
        pipe.zadd(keys.INDEX, {keys.index_entry(inherited_id(digest), digest): 0})
    pipe.execute()


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("app.a.test", [4, 3, 2]),
        ("b.test", [4]),
        ("*.a.test", [2]),
        ("a.test", [4, 1]),
        ("*", [4]),
        ("ops@", [3]),
        ("nobody@a.test", []),
        ("night", [4]),
        ("Ann's NIGHTLY job", [4]),
        ("c.test", [4, 1]),
        ("like x.c", [1]),
    ],
)
def test_search_by_host_and_email(client: Any, typed: str, expected: list[int]) -> None:
    """A host finds tokens that allow it, a pattern those that list it, a part of a text those with it."""
    added = {
        1: add(client, 1, "a.test", "xa.test", comment="like X.C.Test"),
        2: add(client, 2, "b.c.test", "*.a.test"),
        3: add(client, 3, "app.a.test", email="Ops@a.test"),
        4: add(client, 4, "*", comment="ann's nightly job"),
    }

    assert ids(find(client, typed)) == [added[number] for number in expected]


def test_search_by_id(client: Any) -> None:
    """An id finds its token, and a prefix of an id all tokens whose ids start with it."""
    added = [add(client, number) for number in range(3)]

    assert ids(find(client, added[1])) == [added[1]]
    assert ids(find(client, added[0][:4])) == added[::-1]
    assert ids(find(client, "2")) == []


def test_search_in_a_list_as_typed(client: Any) -> None:
    """A host list that an older deployment stored as typed is matched as /auth matches it."""
    client.hset(keys.record("ab" * 32), "hosts", "b.test , *.A.Test")
    store_of(client).page(1, 10)

    assert ids(find(client, "app.a.test")) == [inherited_id("ab" * 32)]


@pytest.mark.parametrize("typed", ["a.test", "1"])
def test_search_continues(client: Any, typed: str) -> None:
    """Searches that continue at the last cursor find each token once, and then end."""
    added = [add(client, number) for number in range(7)]
    found, all_ids = find(client, typed, size=3), []
    while True:
        all_ids += ids(found)
        if found.more is None:
            break
        found = find(client, typed, found.more, 3)

    assert all_ids == added[::-1]
    assert (found.searched, found.total) == (7, 7)


def test_full_last_page_has_no_cursor(client: Any) -> None:
    """A full page with nothing after it is the last one."""
    for number in range(3):
        add(client, number)

    assert find(client, "a.test", size=3).more is None


def test_search_stops_in_time(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A search that runs out of time reports its progress, and the next call finds the older tokens."""
    monkeypatch.setattr(listings, "_PATIENCE_S", 0)
    digest = "0" * 64
    add_inherited(client, 600)
    client.hset(keys.record(digest), "hosts", "needle.test")
    found = find(client, "needle.test")

    assert (ids(found), found.searched, found.total) == ([], 250, 600)
    while found.more:
        found = find(client, "needle.test", found.more)
    assert ids(found) == [inherited_id(digest)]


def test_unfinished_backfill_is_reported(real_client: Any) -> None:
    """A search reports that tokens may be missing until the backfill has scanned all keys once."""
    for number in range(3_000):
        real_client.hset(keys.record(f"{number:064x}"), "hosts", "a.test")
    store = store_of(real_client)

    store.page(1, 10)
    assert not find(real_client, "a.test").is_whole
    store.adopt_all()
    assert find(real_client, "a.test").is_whole


def test_full_backfill_starts_at_the_beginning(real_client: Any) -> None:
    """A full backfill scans all keys, whatever the cursor of the page views is."""
    for number in range(3_000):
        real_client.hset(keys.record(f"{number:064x}"), "hosts", "a.test")
    store = store_of(real_client)
    store.page(1, 10)
    for number in range(3_000, 3_100):
        real_client.hset(keys.record(f"{number:064x}"), "hosts", "late.test")

    store.adopt_all()

    assert real_client.zcard(keys.INDEX) == 3_100


def test_many_expired_tokens(client: Any) -> None:
    """Thousands of entries of expired tokens do not fill pages."""
    added = add(client, 1, id=mint_id((NOW - 10_000_000) * 1000))
    for number in range(2, 2_500):
        entry = keys.index_entry(mint_id((NOW - number) * 1000), f"{number:064x}"[::-1])
        client.zadd(keys.INDEX, {entry: 0})

    found, total = store_of(client).page(1, 10)

    assert ([token.id for token in found], total) == ([added], 1)


def test_count_of_old_peppers(client: Any) -> None:
    """Every token that is not marked with the current pepper is counted."""
    add_inherited(client, 600)
    client.hset(keys.record("0" * 64), "pepper", "f")

    assert store_of(client).count_old_peppers() == 599
