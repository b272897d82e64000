"""Unexpected data under a record's key affects no other token, is listed, and can be deleted."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from app.core.errors import ConflictError, NoSuchTokenError, StoreUnavailableError
from app.core.tokens import Fault, Status, inherited_id, mint_id
from app.core.verdicts import Verdict
from app.store import keys
from devkit.builders import NOW
from devkit.replica import Replica
from tests.store.test_search import search

BAD_SECRET = "the-bad-one"

Write = Callable[[Any, str], Any]


def hash_of(**fields: Any) -> Write:
    """Return a function that writes a record with all hosts and *fields*."""
    return lambda client, name: client.hset(name, mapping={"hosts": "*"} | fields)


OTHER_TYPES: dict[str, Write] = {
    "string": lambda client, name: client.set(name, "?"),
    "huge string": lambda client, name: client.set(name, b"\xff" * 1_000_000),
    "list": lambda client, name: client.rpush(name, "hosts", "*"),
    "set": lambda client, name: client.sadd(name, "hosts"),
    "zset": lambda client, name: client.zadd(name, {"hosts": 1}),
    "stream": lambda client, name: client.xadd(name, {"hosts": "*"}),
    "moved to itself": lambda client, name: client.hset(name, "moved_to", name.removeprefix("tokens:")),
    "moved to junk": lambda client, name: client.hset(name, "moved_to", "xyz"),
    "moved to bytes": hash_of(moved_to=b"\xff" * 64),
    "moved to nothing": hash_of(moved_to=""),
}
JUNK_TIMES: Write = lambda client, name: client.rpush(name, "1", "?", "?")  # noqa: E731 - as the ones above
BAD_FIELDS: dict[str, Write] = {
    "no field of ours": lambda client, name: client.hset(name, b"\xff", b"\0"),
    "1 MB of hosts": hash_of(hosts="a.test," * 150_000),
    "1 MB of comment": hash_of(comment="x" * 1_000_000),
    **{
        f"{field} is {value[:12]!r}": hash_of(**{field: value})
        for field in ("rate_limit_max", "rate_limit_window_sec", "not_before")
        for value in (b"maybe", b"-1", b"\xff\xfe", b"", b"1e3", b"9223372036854775808", b"9" * 5000)
    },
}


@pytest.fixture
def replica(client: Any) -> Replica:
    """Return a replica on an empty database."""
    return Replica(client, "pepper")


def write_bad(replica: Replica, write: Write) -> str:
    """Write invalid data for BAD_SECRET, and return its digest."""
    write(replica.client, replica.record(BAD_SECRET))
    return replica.peppers.digest(BAD_SECRET)


def listed(replica: Replica) -> dict[str, Status]:
    """Return the status of every listed token by digest."""
    return {token.digest: token.status(NOW) for token in replica.catalog.page(1).tokens}


@pytest.mark.parametrize("kind", [*OTHER_TYPES, *BAD_FIELDS])
def test_bad_record_harms_no_other_token(replica: Replica, kind: str) -> None:
    """With a bad record present, every other token can be used, listed, found, changed and deleted."""
    name, secret = replica.issue()
    write_bad(replica, (OTHER_TYPES | BAD_FIELDS)[kind])

    assert listed(replica)[replica.peppers.digest(secret)] is Status.ACTIVE
    assert replica.ask(secret) is Verdict.ALLOWED
    assert name in [token.id for token in search(replica.catalog, "a.test").tokens]
    assert replica.catalog.count_old_peppers() == 0
    replica.edit(name, {"comment": "x"})
    replica.enable(name, enabled=False)
    replica.enable(name, enabled=True)
    replica.rotate(name, "60")
    assert replica.delete(name).id == name


@pytest.mark.parametrize("kind", [*OTHER_TYPES, *BAD_FIELDS])
def test_bad_record_is_listed_and_deleted(replica: Replica, kind: str) -> None:
    """A bad record allows nothing, is listed as unreadable, and can be deleted completely by its SHA-256."""
    digest = write_bad(replica, (OTHER_TYPES | BAD_FIELDS)[kind])

    with suppress(StoreUnavailableError):
        assert replica.ask(BAD_SECRET) is Verdict.UNKNOWN_TOKEN
    assert listed(replica) == {digest: Status.UNREADABLE}
    assert replica.catalog.find(digest).id == inherited_id(digest)
    assert [token.digest for token in search(replica.catalog, digest).tokens] == [digest]
    assert replica.delete(digest).digest == digest
    assert listed(replica) == {}
    assert replica.client.keys("*tokens:*") == [keys.ended(digest).encode()]


@pytest.mark.parametrize("kind", OTHER_TYPES)
def test_key_without_a_record_can_only_be_deleted(replica: Replica, kind: str) -> None:
    """A key that is not a record can only be deleted, and the error for any other change says so."""
    digest = write_bad(replica, OTHER_TYPES[kind])
    before = replica.client.dump(keys.record(digest))

    for operation in (
        lambda: replica.edit(digest, {"hosts": "a.test"}),
        lambda: replica.enable(digest, enabled=True),
        lambda: replica.rotate(digest, "0"),
    ):
        with pytest.raises(ConflictError, match="can only be deleted"):
            operation()
    assert replica.client.dump(keys.record(digest)) == before


@pytest.mark.parametrize("kind", BAD_FIELDS)
def test_edit_repairs_invalid_fields(replica: Replica, kind: str) -> None:
    """A record with invalid fields cannot be rotated; an edit repairs it, and then it is decided normally."""
    digest = write_bad(replica, BAD_FIELDS[kind])
    with pytest.raises(ConflictError, match="edit the token"):
        replica.rotate(digest, "0")

    token = replica.edit(digest, {"hosts": "a.test", "comment": "repaired"})

    assert (token.fault, replica.catalog.find(digest).fault) == (None, None)
    assert replica.ask(BAD_SECRET) is Verdict.ALLOWED


@pytest.mark.parametrize(
    ("fields", "verdict"),
    [
        ({"enabled": "maybe"}, Verdict.DISABLED_TOKEN),
        ({"created_at": "9" * 30, "first_used_at": "-1", "last_used_at": b"\xff"}, Verdict.ALLOWED),
        ({"created_at": "999999999999", "not_before": "999999999999"}, Verdict.TOKEN_NOT_YET_VALID),
        ({"id": b"\xff" * 16, "email": b"\xfe", "comment": b"\r\n\0"}, Verdict.ALLOWED),
        ({"id": "x" * 5_000}, Verdict.ALLOWED),
        ({"rate_limit_max": "999999999999", "rate_limit_window_sec": "999999999999"}, Verdict.ALLOWED),
    ],
)
def test_invalid_values_that_do_not_matter(
    replica: Replica, fields: dict[str, Any], verdict: Verdict
) -> None:
    """Invalid values in fields that no decision needs leave a record readable."""
    digest = write_bad(replica, hash_of(**fields))

    assert replica.ask(BAD_SECRET) is verdict
    assert listed(replica)[digest] is not Status.UNREADABLE
    assert replica.catalog.find(inherited_id(digest)).digest == digest


def test_expiry_beyond_the_calendar(replica: Replica) -> None:
    """A record whose expiry is beyond any calendar date is decided and listed."""
    digest = write_bad(replica, hash_of())
    replica.client.execute_command("PEXPIREAT", keys.record(digest), 2**62)

    assert replica.ask(BAD_SECRET) is Verdict.ALLOWED
    assert replica.catalog.find(digest).expires_at == 2**62 // 1000


def test_records_that_redirect_in_circles(replica: Replica) -> None:
    """Records that point to each other allow nothing, and each can be deleted by its own SHA-256."""
    pair = ["ab" * 32, replica.peppers.digest(BAD_SECRET)]
    for digest, other in (pair, pair[::-1]):
        replica.client.hset(keys.record(digest), "moved_to", other)

    with pytest.raises(StoreUnavailableError, match="circles"):
        replica.ask(BAD_SECRET)
    assert [replica.catalog.find(digest).fault for digest in pair] == [Fault.KEY] * 2
    replica.delete(pair[0])
    assert replica.client.keys("tokens:*") == [replica.record(BAD_SECRET).encode()]
    assert replica.ask(BAD_SECRET) is Verdict.UNKNOWN_TOKEN


def test_redirect_to_an_invalid_digest(replica: Replica) -> None:
    """A moved_to that is not a SHA-256 is not followed, so no other key can pass for a record."""
    replica.client.hset("tokens:xyz", "hosts", "*")
    write_bad(replica, OTHER_TYPES["moved to junk"])

    with pytest.raises(StoreUnavailableError):
        replica.ask(BAD_SECRET)


@pytest.mark.parametrize("kind", ["string", "set", "zset", "stream"])
def test_invalid_usage_is_no_reason_to_refuse(replica: Replica, kind: str) -> None:
    """A token with invalid usage data is allowed as usual, and counting starts again."""
    name, secret = replica.issue(ttl_seconds="600")
    usage = keys.usage(replica.peppers.digest(secret))
    OTHER_TYPES[kind](replica.client, usage)
    if kind == "string":
        replica.client.set(usage, b"\xff" * 1_000_000)
    assert replica.catalog.usage(replica.catalog.find(name), int(time.time())).hours[-1].allowed == 0

    assert [replica.ask(secret) for _ in range(3)] == [Verdict.ALLOWED] * 3
    assert replica.catalog.usage(replica.catalog.find(name), int(time.time())).hours[-1].allowed == 3
    assert 0 < replica.client.ttl(usage) <= 600


@pytest.mark.parametrize("kind", ["string", "set", "zset", "stream", "junk"])
@pytest.mark.parametrize("repair", ["edit", "delete"])
def test_window_of_another_type(replica: Replica, kind: str, repair: str) -> None:
    """A token with an unreadable window is a 503 for itself only, until an edit or a delete replaces it."""
    name, secret = replica.issue(rate_limit_max="2")
    other = replica.issue()[1]
    window = keys.window(replica.peppers.digest(secret))
    (OTHER_TYPES | {"junk": JUNK_TIMES})[kind](replica.client, window)

    with pytest.raises(StoreUnavailableError):
        replica.ask(secret)
    assert replica.ask(other) is Verdict.ALLOWED
    if repair == "edit":
        replica.edit(name, {"comment": "x"})
        assert [replica.ask(secret) for _ in range(3)] == [Verdict.ALLOWED] * 2 + [Verdict.RATE_LIMITED]
    else:
        replica.delete(name)
        assert not replica.client.exists(window)


def test_two_records_with_one_id(replica: Replica) -> None:
    """An id shared by two records is refused with both SHA-256s, which can be used instead."""
    name, secret = replica.issue()
    decoy = write_bad(replica, hash_of(id=name))
    real = replica.peppers.digest(secret)
    assert set(listed(replica)) == {real, decoy}

    operations: list[Callable[[], Any]] = [
        lambda: replica.catalog.find(name),
        lambda: replica.enable(name, enabled=False),
        lambda: replica.delete(name),
    ]
    for operation in operations:
        with pytest.raises(ConflictError, match=f"({real}, {decoy}|{decoy}, {real})"):
            operation()
    replica.enable(real, enabled=False)
    assert (replica.ask(secret), replica.ask(BAD_SECRET)) == (Verdict.DISABLED_TOKEN, Verdict.ALLOWED)
    replica.delete(decoy)
    assert replica.catalog.find(name).digest == real


def test_search_returns_each_record_with_a_shared_id(replica: Replica) -> None:
    """A search over records with the same id returns each of them once, and ends."""
    name = mint_id(NOW * 1000)
    for number in range(5):
        replica.client.hset(keys.record(f"{number:064x}"), mapping={"hosts": "a.test", "id": name})
    found, digests = search(replica.catalog, "a.test", size=2), []
    while True:
        digests += [token.digest for token in found.tokens]
        if not found.more:
            break
        found = search(replica.catalog, "a.test", found.more, size=2)

    assert sorted(digests) == [f"{number:064x}" for number in range(5)]


JUNK = [b"", b"x", b"\xff" * 48, b"0" * 47, b"0" * 49, b"i" * 48, "é".encode() * 24, b"1" * 5_000]


def test_invalid_members_of_the_index(replica: Replica) -> None:
    """Invalid members of the index hide no token, and are removed."""
    ids = sorted(replica.issue()[0] for _ in range(3))
    replica.client.zadd(keys.INDEX, dict.fromkeys(JUNK, 0))
    assert [token.id for token in search(replica.catalog, "a.test").tokens] == ids[::-1]

    replica.client.zadd(keys.INDEX, dict.fromkeys(JUNK, 5))
    assert [token.id for token in replica.catalog.page(1).tokens] == ids[::-1]
    assert replica.catalog.page(1).total == 3
    replica.client.zadd(keys.INDEX, {ids[0].encode() + b"junk": 0})
    assert replica.catalog.find(ids[0]).id == ids[0]


@pytest.mark.parametrize("kind", ["string", "list", "set", "stream"])
def test_index_of_another_type(replica: Replica, kind: str) -> None:
    """An index of another type is rebuilt by any operation without losing a token."""
    name, _ = replica.issue()
    operations: list[Callable[[], Any]] = [
        lambda: replica.catalog.page(1),
        lambda: search(replica.catalog, "a.test"),
        replica.issue,
        lambda: replica.rotate(digest, "0"),
    ]
    for operation in operations:
        digest = next(token.digest for token in replica.catalog.page(1).tokens if token.id == name)
        replica.client.delete(keys.INDEX)
        OTHER_TYPES[kind](replica.client, keys.INDEX)
        operation()
        assert name in [token.id for token in replica.catalog.page(1).tokens]


@pytest.mark.parametrize("cursor", ["x", "-5", "1e3", "9" * 40, b"\xff", str(2**64 - 1)])
def test_invalid_cursor(replica: Replica, cursor: Any) -> None:
    """An invalid cursor restarts the search for records of older deployments."""
    digest = write_bad(replica, hash_of())
    replica.client.set(keys.BACKFILL_CURSOR, cursor)

    for _ in range(2):
        replica.catalog.page(1)
    assert listed(replica) == {digest: Status.ACTIVE}


@pytest.mark.parametrize("name", [keys.BACKFILL_CURSOR, keys.BACKFILL_FINISHED, keys.PEPPERS])
@pytest.mark.parametrize("kind", ["string", "list", "zset", "stream"])
def test_other_keys_of_another_type(replica: Replica, name: str, kind: str) -> None:
    """Auxiliary keys of another type prevent no operation."""
    _, secret = replica.issue()
    replica.client.delete(name)
    OTHER_TYPES[kind](replica.client, name)
    fresh = Replica(replica.client, "pepper")

    assert fresh.ask(secret) is Verdict.ALLOWED
    assert len(fresh.catalog.page(1).tokens) == 1
    assert fresh.issue()


def test_keys_that_only_look_like_records(replica: Replica) -> None:
    """Keys that merely look like records are ignored."""
    for number, name in enumerate(("tokens:foo", "tokens:", "tokens:" + "A" * 64, "tokens:" + "a" * 65)):
        [*OTHER_TYPES.values()][number](replica.client, name)

    assert listed(replica) == {}
    with pytest.raises(NoSuchTokenError):
        replica.catalog.find("A" * 64)
