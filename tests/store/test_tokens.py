"""What is kept of a token, listed and forgotten."""

from __future__ import annotations

from typing import Any

import pytest

from app.core.tokens import inherited_id, mint_id
from app.store import keys
from app.store.pepper_check import Canary
from app.store.tokens import RedisTokens
from devkit.builders import NOW, make_token


def tokens(client: Any) -> RedisTokens:
    """Return the store under test."""
    return RedisTokens(client, Canary(client, ["f"]), deadline_s=2)


def add(client: Any, number: int, **fields: Any) -> str:
    """Keep a token made *number* seconds after NOW; return its digest."""
    made = {"id": mint_id((NOW + number) * 1000), "created_at": NOW + number}
    token = make_token(f"{number:064x}", **made | fields)
    tokens(client).add(token)
    return token.digest


def test_added_token_reads_back(client: Any) -> None:
    """What is kept is what was said."""
    token = make_token(
        hosts=("a.example", "*.b.example"),
        email="ops@example.com",
        comment="für 日本",
        not_before=NOW,
        rate_limit_max=0,
        rate_limit_window_sec=5,
    )
    tokens(client).add(token)

    assert tokens(client).get(token.digest) == token


def test_added_token_expires(client: Any) -> None:
    """A token has the end that was asked for from its first moment, to the millisecond, and reads it back."""
    ends = int(client.time()[0]) + 300
    digest = add(client, 1, expires_at=ends)

    assert client.execute_command("PEXPIRETIME", keys.record(digest)) == ends * 1000
    token = tokens(client).get(digest)
    assert token
    assert token.expires_at == ends


def test_unknown_digest(client: Any) -> None:
    """A digest that names nothing gives nothing."""
    assert tokens(client).get("f" * 64) is None


def test_id_names_its_token(client: Any) -> None:
    """A public id finds its digest, and only a whole one does."""
    digest = add(client, 1)
    token = tokens(client).get(digest)
    assert token

    assert tokens(client).digests_of(token.id) == [digest]
    assert tokens(client).digests_of(mint_id(NOW)) == []


def test_removed_token_leaves_nothing(client: Any) -> None:
    """Removing forgets the record, its window and its entry in the index; a second time there is nothing."""
    digest = add(client, 1)
    client.lpush(keys.window(digest), 1)
    token = tokens(client).get(digest)
    assert token

    assert tokens(client).remove(token)
    assert not tokens(client).remove(token)
    assert client.keys("*tokens:*") == []
    assert client.zcard(keys.INDEX) == 0


def test_token_is_removed_from_a_full_server(real_client: Any) -> None:
    """A server that has no memory for anything else still revokes."""
    digest = add(real_client, 1)
    token = tokens(real_client).get(digest)
    assert token

    real_client.config_set("maxmemory", 1)
    try:
        assert tokens(real_client).remove(token)
    finally:
        real_client.config_set("maxmemory", 0)
    assert real_client.keys("*tokens:*") == []


def test_pages_are_newest_first(client: Any) -> None:
    """Pages cut one list, newest first, and say how long it is."""
    digests = [add(client, number) for number in range(1, 6)]

    first, total = tokens(client).page(1, 2)
    last, _ = tokens(client).page(3, 2)

    assert total == 5
    assert [token.digest for token in first] == digests[:2:-1]
    assert [token.digest for token in last] == digests[:1]


def test_expired_tokens_leave_the_list(client: Any) -> None:
    """Tokens that are gone are not listed or counted, and the page is filled up behind them."""
    digests = [add(client, number) for number in range(1, 8)]
    for digest in digests[2:6]:
        client.delete(keys.record(digest))

    found, total = tokens(client).page(1, 3)

    assert [token.digest for token in found] == [digests[6], digests[1], digests[0]]
    assert total == 3


def test_young_entry_without_a_record_stays(client: Any) -> None:
    """An entry whose record is still being written is neither listed nor dropped."""
    seconds, _ = client.time()
    client.zadd(keys.INDEX, {mint_id(seconds * 1000).encode() + b"\1" * 32: 0})

    found, _ = tokens(client).page(1, 10)

    assert list(found) == []
    assert client.zcard(keys.INDEX) == 1


@pytest.mark.parametrize("fields", [{"hosts": "A.example, b.example"}, {"hosts": "a.example", "email": "x"}])
def test_token_of_an_older_deployment(client: Any, fields: dict[str, str]) -> None:
    """A record that others wrote is listed, with an id of its own, found by it and removed."""
    digest = "ab" * 32
    client.hset(keys.record(digest), mapping=fields)

    (token,), total = tokens(client).page(1, 10)

    assert total == 1
    assert token.id == inherited_id(digest)
    assert token.hosts[0] == "a.example"
    assert tokens(client).digests_of(token.id) == [digest]
    assert tokens(client).remove(token)
    assert tokens(client).page(1, 10) == ([], 0)


def test_listing_passes_over_what_is_no_token(client: Any) -> None:
    """Other keys, names that only look like ours and broken bytes are no tokens."""
    client.set("tokens:xyz", 1)
    client.hset("tokens:" + "A" * 64, "hosts", "*")
    client.hset(
        keys.record("cd" * 32), mapping={"hosts": b"\xff\xfe", "created_at": "x", "rate_limit_max": "y"}
    )

    (token,), _ = tokens(client).page(1, 10)

    assert token.created_at is None
    assert token.rate_limit_max is None


def test_search_for_older_tokens_goes_on(real_client: Any) -> None:
    """A large database is searched in slices, each page going on where the last one stopped."""
    pipe = real_client.pipeline(transaction=False)
    for number in range(9_000):
        pipe.hset(keys.record(f"{number:064x}"), "hosts", "a.example")
    pipe.execute()

    first = tokens(real_client).page(1, 10)[1]
    tokens(real_client).adopt_all()

    assert 0 < first < 5_000
    assert tokens(real_client).page(1, 10)[1] == 9_000


def test_restored_tokens_are_found_again(client: Any) -> None:
    """A database that was emptied and filled again is listed by a store that knew it before."""
    store, fields = tokens(client), {"hosts": "a.example"}
    for _ in range(2):
        client.hset(keys.record("ab" * 32), mapping=fields)
        assert store.page(1, 10)[1] == 1
        assert store.page(1, 10)[1] == 1
        client.flushall()

    assert store.page(1, 10)[1] == 0


def test_form_is_claimed_once(client: Any) -> None:
    """A form makes one token, and is remembered for an hour."""
    assert tokens(client).claim_form("nonce")
    assert not tokens(client).claim_form("nonce")
    assert 3_500 < client.ttl(keys.form("nonce")) <= 3_600
