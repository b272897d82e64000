"""Storing, listing and removing tokens."""

from __future__ import annotations

from typing import Any

import pytest

from app.core.tokens import inherited_id, mint_id
from app.store import keys
from app.store.pepper_check import PepperCheck
from app.store.tokens import RedisTokens
from devkit.builders import ACTOR, NOW, make_token
from devkit.replica import make_changes


def tokens(client: Any) -> RedisTokens:
    """Return the store under test."""
    return RedisTokens(client, PepperCheck(client, ["f"]), deadline_s=2)


def add(client: Any, number: int, **fields: Any) -> str:
    """Store a token created *number* seconds after NOW, and return its digest."""
    defaults = {"id": mint_id((NOW + number) * 1000), "created_at": NOW + number}
    token = make_token(f"{number:064x}", **defaults | fields)
    make_changes(client).add(ACTOR, token)
    return token.digest


def kept(client: Any, digest: str) -> tuple[Any, ...]:
    """Return everything that is stored of the token with that digest, and the index."""
    name = keys.record(digest)
    expiry, marker = client.execute_command("PEXPIRETIME", name), client.get(keys.ended(digest))
    return client.hgetall(name), expiry, marker, client.zrange(keys.INDEX, 0, -1)


def test_added_token_reads_back(client: Any) -> None:
    """A stored token is read back unchanged."""
    token = make_token(
        hosts=("a.example", "*.b.example"),
        email="ops@example.com",
        comment="für 日本",
        not_before=NOW,
        rate_limit_max=0,
        rate_limit_window_sec=5,
    )
    make_changes(client).add(ACTOR, token)

    assert tokens(client).get(token.digest) == token


def test_added_token_expires(client: Any) -> None:
    """A token has the requested expiry from the start, to the millisecond, and it is read back."""
    expires_at = int(client.time()[0]) + 300
    digest = add(client, 1, expires_at=expires_at)

    assert client.execute_command("PEXPIRETIME", keys.record(digest)) == expires_at * 1000
    token = tokens(client).get(digest)
    assert token
    assert token.expires_at == expires_at


@pytest.mark.parametrize("ends_in_s", [None, 300])
def test_taken_digest(client: Any, ends_in_s: int | None) -> None:
    """A token never replaces another one with its digest; nothing of the other is changed."""
    now_s = int(client.time()[0])
    digest = add(client, 1, comment="first", expires_at=now_s + 600)
    before = kept(client, digest)
    other = make_token(digest, id=mint_id((NOW + 2) * 1000), expires_at=ends_in_s and now_s + ends_in_s)

    assert make_changes(client).add(ACTOR, other) is None
    assert kept(client, digest) == before


def test_digest_of_a_redirect(client: Any) -> None:
    """A token does not take the digest under which a rotated token is still found, either."""
    digest = f"{1:064x}"
    client.hset(keys.record(digest), mapping={"moved_to": f"{2:064x}"})

    assert make_changes(client).add(ACTOR, make_token(digest)) is None
    assert client.hgetall(keys.record(digest)) == {b"moved_to": f"{2:064x}".encode()}


@pytest.mark.parametrize("ends_in_s", [None, 300])
def test_digest_of_an_expired_token(client: Any, ends_in_s: int | None) -> None:
    """A new token may take the digest of an expired one, and its marker is not left behind."""
    digest = f"{1:064x}"
    client.set(keys.ended(digest), "0" * 16, px=keys.REMEMBERED_MS)
    token = make_token(digest, expires_at=ends_in_s and int(client.time()[0]) + ends_in_s)

    assert make_changes(client).add(ACTOR, token)
    assert (client.get(keys.ended(digest)) or b"").split(b"\n")[0] == (
        token.id.encode() if ends_in_s else b""
    )


def test_unknown_digest(client: Any) -> None:
    """An unknown digest has no token."""
    assert tokens(client).get("f" * 64) is None


def test_id_names_its_token(client: Any) -> None:
    """A public id leads to its token's digest."""
    digest = add(client, 1)
    token = tokens(client).get(digest)
    assert token

    assert [found.digest for found in tokens(client).with_id(token.id)] == [digest]
    assert tokens(client).with_id(mint_id(NOW)) == []


def test_removed_token_leaves_its_marker(client: Any) -> None:
    """Removing a token deletes its record, window and index entry, and is reported once."""
    digest = add(client, 1)
    client.lpush(keys.window(digest), 1)
    token = tokens(client).get(digest)
    assert token

    assert make_changes(client).remove(ACTOR, token)
    assert not make_changes(client).remove(ACTOR, token)
    assert client.keys("*tokens:*") == [keys.ended(digest).encode()]
    assert client.zcard(keys.INDEX) == 0


def test_token_is_removed_from_a_full_server(real_client: Any) -> None:
    """A token can be removed while Redis is out of memory, and its end is remembered even then."""
    digest = add(real_client, 1)
    token = tokens(real_client).get(digest)
    assert token

    real_client.config_set("maxmemory", 1)
    try:
        assert make_changes(real_client).remove(ACTOR, token)
    finally:
        real_client.config_set("maxmemory", 0)
    assert real_client.keys("*tokens:*") == [keys.ended(digest).encode()]


def test_pages_are_newest_first(client: Any) -> None:
    """Pages are slices of one list, newest first, together with its length."""
    digests = [add(client, number) for number in range(1, 6)]

    first, total = tokens(client).page(1, 2)
    last, _ = tokens(client).page(3, 2)

    assert total == 5
    assert [token.digest for token in first] == digests[:2:-1]
    assert [token.digest for token in last] == digests[:1]


def test_expired_tokens_leave_the_list(client: Any) -> None:
    """Expired tokens are neither listed nor counted, and do not leave gaps on a page."""
    digests = [add(client, number) for number in range(1, 8)]
    for digest in digests[2:6]:
        client.delete(keys.record(digest))

    found, total = tokens(client).page(1, 3)

    assert [token.digest for token in found] == [digests[6], digests[1], digests[0]]
    assert total == 3


def test_young_entry_without_a_record_stays(client: Any) -> None:
    """A recent index entry without a record is not listed, and not removed."""
    seconds, _ = client.time()
    client.zadd(keys.INDEX, {mint_id(seconds * 1000).encode() + b"\1" * 32: 0})

    found, _ = tokens(client).page(1, 10)

    assert list(found) == []
    assert client.zcard(keys.INDEX) == 1


@pytest.mark.parametrize("fields", [{"hosts": "A.example, b.example"}, {"hosts": "a.example", "email": "x"}])
def test_token_of_an_older_deployment(client: Any, fields: dict[str, str]) -> None:
    """A record of an older deployment is listed under a derived id, found by it and removed."""
    digest = "ab" * 32
    client.hset(keys.record(digest), mapping=fields)

    (token,), total = tokens(client).page(1, 10)

    assert total == 1
    assert token.id == inherited_id(digest)
    assert token.hosts[0] == "a.example"
    assert [found.digest for found in tokens(client).with_id(token.id)] == [digest]
    assert make_changes(client).remove(ACTOR, token)
    assert tokens(client).page(1, 10) == ([], 0)


def test_listing_skips_what_is_not_a_token(client: Any) -> None:
    """Foreign keys and invalid values are not listed as tokens or fields."""
    client.set("tokens:xyz", 1)
    client.hset("tokens:" + "A" * 64, "hosts", "*")
    client.hset(
        keys.record("cd" * 32), mapping={"hosts": b"\xff\xfe", "created_at": "x", "rate_limit_max": "y"}
    )

    (token,), _ = tokens(client).page(1, 10)

    assert token.created_at is None
    assert token.rate_limit_max is None


def test_backfill_continues_on_the_next_page(real_client: Any) -> None:
    """A large database is searched in slices, each page continuing where the last one stopped."""
    pipe = real_client.pipeline(transaction=False)
    for number in range(9_000):
        pipe.hset(keys.record(f"{number:064x}"), "hosts", "a.example")
    pipe.execute()

    first = tokens(real_client).page(1, 10)[1]
    tokens(real_client).adopt_all()

    assert 0 < first < 5_000
    assert tokens(real_client).page(1, 10)[1] == 9_000


def test_restored_tokens_are_found_again(client: Any) -> None:
    """After Redis was emptied and restored, an existing store lists the restored tokens."""
    store, fields = tokens(client), {"hosts": "a.example"}
    for _ in range(2):
        client.hset(keys.record("ab" * 32), mapping=fields)
        assert store.page(1, 10)[1] == 1
        assert store.page(1, 10)[1] == 1
        client.flushall()

    assert store.page(1, 10)[1] == 0


def test_idempotency_key_is_claimed_once(client: Any) -> None:
    """An idempotency key creates one token, and is remembered for an hour."""
    assert make_changes(client).claim("key")
    assert not make_changes(client).claim("key")
    assert 3_500 < client.ttl(keys.rotation("key")) <= 3_600
