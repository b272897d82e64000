"""Whatever others wrote where a record should be harms no other token, is seen, and can be deleted."""

from __future__ import annotations

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

BAD_TEXT = "the-bad-one"

Write = Callable[[Any, str], Any]


def hash_of(**fields: Any) -> Write:
    """Return what writes a record that lists every host, and *fields*."""
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


def spoil(replica: Replica, write: Write) -> str:
    """Put something bad where the token of BAD_TEXT would be; return its digest."""
    write(replica.client, replica.record(BAD_TEXT))
    return replica.peppers.digest(BAD_TEXT)


def listed(replica: Replica) -> dict[str, Status]:
    """Return how every token in the table stands, by its digest."""
    return {token.digest: token.status(NOW) for token in replica.registry.page(1).tokens}


@pytest.mark.parametrize("kind", [*OTHER_TYPES, *BAD_FIELDS])
def test_it_harms_no_other(replica: Replica, kind: str) -> None:
    """With it there, every other token is decided on, listed, found, changed, rotated and deleted."""
    name, text = replica.issue()
    spoil(replica, (OTHER_TYPES | BAD_FIELDS)[kind])

    assert listed(replica)[replica.peppers.digest(text)] is Status.ACTIVE
    assert replica.ask(text) is Verdict.ALLOWED
    assert name in [token.id for token in replica.registry.search("a.test").tokens]
    assert replica.registry.count_old_peppers() == 0
    replica.registry.edit(name, {"comment": "x"})
    replica.registry.enable(name, enabled=False)
    replica.registry.enable(name, enabled=True)
    replica.registry.rotate(name, "60")
    assert replica.registry.delete(name).id == name


@pytest.mark.parametrize("kind", [*OTHER_TYPES, *BAD_FIELDS])
def test_it_is_seen_and_deleted(replica: Replica, kind: str) -> None:
    """It opens nothing, is listed as unreadable under its SHA-256, and is deleted by that with all it has."""
    digest = spoil(replica, (OTHER_TYPES | BAD_FIELDS)[kind])

    with suppress(StoreUnavailableError):
        assert replica.ask(BAD_TEXT) is Verdict.UNKNOWN_TOKEN
    assert listed(replica) == {digest: Status.UNREADABLE}
    assert replica.registry.find(digest).id == inherited_id(digest)
    assert [token.digest for token in replica.registry.search(digest).tokens] == [digest]
    assert replica.registry.delete(digest).digest == digest
    assert listed(replica) == {}
    assert replica.client.keys("*tokens:*") == []


@pytest.mark.parametrize("kind", OTHER_TYPES)
def test_no_record_is_only_deleted(replica: Replica, kind: str) -> None:
    """What is no record at all is not edited, switched or rotated; whoever tries is told what can be done."""
    digest = spoil(replica, OTHER_TYPES[kind])
    before = replica.client.dump(keys.record(digest))

    for act in (
        lambda: replica.registry.edit(digest, {"hosts": "a.test"}),
        lambda: replica.registry.enable(digest, enabled=True),
        lambda: replica.registry.rotate(digest, "0"),
    ):
        with pytest.raises(ConflictError, match="can only be deleted"):
            act()
    assert replica.client.dump(keys.record(digest)) == before


@pytest.mark.parametrize("kind", BAD_FIELDS)
def test_an_edit_mends_fields(replica: Replica, kind: str) -> None:
    """A record of which fields make no sense is not rotated; an edit writes it anew, and then it decides."""
    digest = spoil(replica, BAD_FIELDS[kind])
    with pytest.raises(ConflictError, match="edit the token"):
        replica.registry.rotate(digest, "0")

    token = replica.registry.edit(digest, {"hosts": "a.test", "comment": "mended"})

    assert (token.fault, replica.registry.find(digest).fault) == (None, None)
    assert replica.ask(BAD_TEXT) is Verdict.ALLOWED


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
def test_what_makes_no_difference(replica: Replica, fields: dict[str, Any], verdict: Verdict) -> None:
    """Odd fields that no decision needs, and odd values with a meaning, leave a record readable."""
    digest = spoil(replica, hash_of(**fields))

    assert replica.ask(BAD_TEXT) is verdict
    assert listed(replica)[digest] is not Status.UNREADABLE
    assert replica.registry.find(inherited_id(digest)).digest == digest


def test_end_beyond_the_calendar(replica: Replica) -> None:
    """A record whose end lies beyond every calendar decides and is listed."""
    digest = spoil(replica, hash_of())
    replica.client.execute_command("PEXPIREAT", keys.record(digest), 2**62)

    assert replica.ask(BAD_TEXT) is Verdict.ALLOWED
    assert replica.registry.find(digest).expires_at == 2**62 // 1000


def test_moved_in_circles(replica: Replica) -> None:
    """Records that moved to one another open nothing, and either is deleted by its own SHA-256."""
    pair = ["ab" * 32, replica.peppers.digest(BAD_TEXT)]
    for digest, other in (pair, pair[::-1]):
        replica.client.hset(keys.record(digest), "moved_to", other)

    with pytest.raises(StoreUnavailableError, match="circles"):
        replica.ask(BAD_TEXT)
    assert [replica.registry.find(digest).fault for digest in pair] == [Fault.KEY] * 2
    replica.registry.delete(pair[0])
    assert replica.client.keys("tokens:*") == [replica.record(BAD_TEXT).encode()]
    assert replica.ask(BAD_TEXT) is Verdict.UNKNOWN_TOKEN


def test_moved_to_what_is_no_digest(replica: Replica) -> None:
    """Only a SHA-256 is followed: no key of another form can pass for a record."""
    replica.client.hset("tokens:xyz", "hosts", "*")
    spoil(replica, OTHER_TYPES["moved to junk"])

    with pytest.raises(StoreUnavailableError):
        replica.ask(BAD_TEXT)


@pytest.mark.parametrize("kind", ["string", "set", "zset", "stream"])
def test_usage_is_no_reason_to_refuse(replica: Replica, kind: str) -> None:
    """A token whose usage is spoilt is let in as before, and counted anew."""
    name, text = replica.issue(ttl_seconds="600")
    usage = keys.usage(replica.peppers.digest(text))
    OTHER_TYPES[kind](replica.client, usage)
    if kind == "string":
        replica.client.set(usage, b"\xff" * 1_000_000)
    assert replica.registry.usage(replica.registry.find(name)).hours[-1].allowed == 0

    assert [replica.ask(text) for _ in range(3)] == [Verdict.ALLOWED] * 3
    assert replica.registry.usage(replica.registry.find(name)).hours[-1].allowed == 3
    assert 0 < replica.client.ttl(usage) <= 600


@pytest.mark.parametrize("kind", ["string", "set", "zset", "stream", "junk"])
@pytest.mark.parametrize("heal", ["edit", "delete"])
def test_window_of_another_type(replica: Replica, kind: str, heal: str) -> None:
    """A token whose window can't be read is not decided on, as no other; an edit gives it a new one."""
    name, text = replica.issue(rate_limit_max="2")
    other = replica.issue()[1]
    window = keys.window(replica.peppers.digest(text))
    (OTHER_TYPES | {"junk": JUNK_TIMES})[kind](replica.client, window)

    with pytest.raises(StoreUnavailableError):
        replica.ask(text)
    assert replica.ask(other) is Verdict.ALLOWED
    if heal == "edit":
        replica.registry.edit(name, {"comment": "x"})
        assert [replica.ask(text) for _ in range(3)] == [Verdict.ALLOWED] * 2 + [Verdict.RATE_LIMITED]
    else:
        replica.registry.delete(name)
        assert not replica.client.exists(window)


def test_two_records_with_one_id(replica: Replica) -> None:
    """An id that two records have means neither: every verb is refused with their SHA-256s, which work."""
    name, text = replica.issue()
    decoy = spoil(replica, hash_of(id=name))
    real = replica.peppers.digest(text)
    assert set(listed(replica)) == {real, decoy}

    acts: list[Callable[[], Any]] = [
        lambda: replica.registry.find(name),
        lambda: replica.registry.enable(name, enabled=False),
        lambda: replica.registry.delete(name),
    ]
    for act in acts:
        with pytest.raises(ConflictError, match=f"({real}, {decoy}|{decoy}, {real})"):
            act()
    replica.registry.enable(real, enabled=False)
    assert (replica.ask(text), replica.ask(BAD_TEXT)) == (Verdict.DISABLED_TOKEN, Verdict.ALLOWED)
    replica.registry.delete(decoy)
    assert replica.registry.find(name).digest == real


def test_search_passes_namesakes(replica: Replica) -> None:
    """However many records have one id, a search that goes on comes upon each once, and ends."""
    name = mint_id(NOW * 1000)
    for number in range(5):
        replica.client.hset(keys.record(f"{number:064x}"), mapping={"hosts": "a.test", "id": name})
    found, came = replica.registry.search("a.test", size=2), []
    while True:
        came += [token.digest for token in found.tokens]
        if not found.more:
            break
        found = replica.registry.search("a.test", found.more, size=2)

    assert sorted(came) == [f"{number:064x}" for number in range(5)]


JUNK = [b"", b"x", b"\xff" * 48, b"0" * 47, b"0" * 49, b"i" * 48, "é".encode() * 24, b"1" * 5_000]


def test_junk_in_the_index(replica: Replica) -> None:
    """Members of the index that are no entries hide no token, and are dropped."""
    made = sorted(replica.issue()[0] for _ in range(3))
    replica.client.zadd(keys.INDEX, dict.fromkeys(JUNK, 0))
    assert [token.id for token in replica.registry.search("a.test").tokens] == made[::-1]

    replica.client.zadd(keys.INDEX, dict.fromkeys(JUNK, 5))
    assert [token.id for token in replica.registry.page(1).tokens] == made[::-1]
    assert replica.registry.page(1).total == 3
    replica.client.zadd(keys.INDEX, {made[0].encode() + b"junk": 0})
    assert replica.registry.find(made[0]).id == made[0]


@pytest.mark.parametrize("kind", ["string", "list", "set", "stream"])
def test_index_of_another_type(replica: Replica, kind: str) -> None:
    """An index that is none is made anew, whoever meets it first, and no token is lost from it."""
    name, _ = replica.issue()
    acts: list[Callable[[], Any]] = [
        lambda: replica.registry.page(1),
        lambda: replica.registry.search("a.test"),
        replica.issue,
        lambda: replica.registry.rotate(digest, "0"),
    ]
    for act in acts:
        digest = next(token.digest for token in replica.registry.page(1).tokens if token.id == name)
        replica.client.delete(keys.INDEX)
        OTHER_TYPES[kind](replica.client, keys.INDEX)
        act()
        assert name in [token.id for token in replica.registry.page(1).tokens]


@pytest.mark.parametrize("cursor", ["x", "-5", "1e3", "9" * 40, b"\xff", str(2**64 - 1)])
def test_junk_for_a_cursor(replica: Replica, cursor: Any) -> None:
    """A cursor that makes no sense begins the search for tokens of others anew."""
    digest = spoil(replica, hash_of())
    replica.client.set(keys.ADOPTION_CURSOR, cursor)

    for _ in range(2):
        replica.registry.page(1)
    assert listed(replica) == {digest: Status.ACTIVE}


@pytest.mark.parametrize("name", [keys.ADOPTION_CURSOR, keys.ADOPTED, keys.PEPPERS])
@pytest.mark.parametrize("kind", ["string", "list", "zset", "stream"])
def test_other_keys_of_another_type(replica: Replica, name: str, kind: str) -> None:
    """What we only note stops nothing if its key holds something else."""
    _, text = replica.issue()
    replica.client.delete(name)
    OTHER_TYPES[kind](replica.client, name)
    fresh = Replica(replica.client, "pepper")

    assert fresh.ask(text) is Verdict.ALLOWED
    assert len(fresh.registry.page(1).tokens) == 1
    assert fresh.issue()


def test_names_that_are_no_records(replica: Replica) -> None:
    """Keys that only begin like a record's are nobody's token, and none of our business."""
    for number, name in enumerate(("tokens:foo", "tokens:", "tokens:" + "A" * 64, "tokens:" + "a" * 65)):
        [*OTHER_TYPES.values()][number](replica.client, name)

    assert listed(replica) == {}
    with pytest.raises(NoSuchTokenError):
        replica.registry.find("A" * 64)
