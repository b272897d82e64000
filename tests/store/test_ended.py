"""Tokens that ended: what is remembered of them, for how long, and that it opens nothing."""

from __future__ import annotations

import time
from typing import Any

import pytest

from app.core.ended import EndedToken, Ending
from app.core.errors import NoSuchTokenError
from app.core.tokens import mint_id
from app.core.verdicts import Verdict
from app.store import ended, index_pages, keys, markers
from app.store.markers import MAX_COMMENT, MAX_EMAIL, MAX_HOSTS
from devkit.builders import ACTOR, make_token
from devkit.replica import Replica

DAY_MS = 86_400_000
FACTS = {"hosts": "a.test,*.b.test", "email": "ann@a.test", "comment": "für 日本"}
ABSENT = {Verdict.UNKNOWN_TOKEN, Verdict.EXPIRED_TOKEN}


@pytest.fixture
def replica(client: Any) -> Replica:
    """Return a replica on an empty database."""
    return Replica(client, "pepper")


def facts(token: EndedToken) -> tuple[Any, ...]:
    """Return what is remembered of a token but the time of its end."""
    return token.id, token.ending, token.hosts, token.email, token.comment


def listed(replica: Replica) -> list[tuple[Any, ...]]:
    """Return the facts of all tokens that ended, and check that each way to list them agrees."""
    page, everything = replica.catalog.ended(), list(replica.catalog.all_ended())
    assert (list(page.tokens), page.total) == (everything, len(everything))
    return [facts(token) for token in everything]


def end(replica: Replica, how: Ending, name: str, secret: str) -> None:
    """End a token, or one of its secrets."""
    if how is Ending.DELETED:
        replica.delete(name)
    elif how is Ending.REPLACED:
        replica.rotate(name, "0")
    else:
        replica.pass_end(secret)


@pytest.mark.parametrize("how", [*Ending])
def test_facts(replica: Replica, how: Ending) -> None:
    """However a token ends, its id, hosts, email and comment are remembered, and when and how it ended."""
    name, secret = replica.issue(ttl_seconds="600", **FACTS)
    replica.ask(secret)
    before = int(replica.client.time()[0])
    end(replica, how, name, secret)
    if how is Ending.EXPIRED:
        replica.catalog.page(1)
    after = int(replica.client.time()[0])

    assert listed(replica) == [(name, how, ("a.test", "*.b.test"), "ann@a.test", "für 日本")]
    (token,) = replica.catalog.ended().tokens
    assert before <= token.ended_at <= after
    marker = keys.ended(replica.peppers.digest(secret))
    assert 29 * DAY_MS < replica.client.pttl(marker) <= 30 * DAY_MS
    shown = [token.id for token in replica.catalog.page(1).tokens]
    assert shown == ([name] if how is Ending.REPLACED else [])


@pytest.mark.parametrize("how", [*Ending])
def test_reason_of_a_refusal(replica: Replica, how: Ending) -> None:
    """Only an expired token gets a verdict of its own; the log learns the id of any, and how it ended."""
    name, secret = replica.issue(ttl_seconds="600")
    end(replica, how, name, secret)
    decision = replica.decide(secret)

    expired = how is Ending.EXPIRED
    assert decision.verdict is (Verdict.EXPIRED_TOKEN if expired else Verdict.UNKNOWN_TOKEN)
    assert decision.identity
    assert decision.identity == (name.encode(), b"", b"")
    assert decision.ending is (None if expired else how)


@pytest.mark.parametrize("how", [*Ending])
def test_reason_under_a_previous_pepper(single_client: Any, how: Ending) -> None:
    """The log learns how a token ended under a previous pepper, too."""
    before, after = Replica(single_client, "old"), Replica(single_client, "new", "old")
    name, secret = before.issue(ttl_seconds="600")
    end(before, how, name, secret)

    decision = after.decide(secret)

    assert decision.identity
    assert decision.identity.token_id == name.encode()
    assert decision.ending is (None if how is Ending.EXPIRED else how)


def test_move_to_another_pepper_replaces_nothing(single_client: Any) -> None:
    """A token that moves to a new pepper has not ended, and keeps the facts for its end."""
    name, secret = Replica(single_client, "old").issue(ttl_seconds="600", **FACTS)
    replica = Replica(single_client, "new", "old")
    replica.ask(secret)
    single_client.delete(Replica(single_client, "old").record(secret))  # simulates the end of the redirect
    assert listed(replica) == []
    assert single_client.keys("*}:ended") == [keys.ended(replica.peppers.digest(secret)).encode()]

    replica.pass_end(secret)
    replica.catalog.page(1)

    assert listed(replica) == [(name, Ending.EXPIRED, ("a.test", "*.b.test"), "ann@a.test", "für 日本")]
    assert replica.ask(secret) is Verdict.EXPIRED_TOKEN


def test_edit_changes_what_will_be_remembered(replica: Replica) -> None:
    """A token is remembered as it was last, even if its expiry was not edited."""
    name, secret = replica.issue(ttl_seconds="600", **FACTS)
    replica.edit(name, {"hosts": "c.test", "email": ""})
    replica.pass_end(secret)
    replica.catalog.page(1)

    assert listed(replica) == [(name, Ending.EXPIRED, ("c.test",), "", "für 日本")]


def test_old_secret_in_its_grace_period(replica: Replica) -> None:
    """An old secret is listed as replaced when its grace period is over, not before."""
    name, old = replica.issue(**FACTS)
    replica.rotate(name, "600")
    assert (listed(replica), replica.ask(old)) == ([], Verdict.ALLOWED)

    replica.pass_end(old)
    replica.client.zadd(keys.ENDED, dict.fromkeys(replica.client.zrange(keys.ENDED, 0, -1), 1_800_000))
    assert replica.decide(old).ending is Ending.REPLACED


def test_expiry_set_by_another_program(replica: Replica) -> None:
    """A token that another program wrote with a TTL is remembered with its facts from its first use on."""
    digest = replica.peppers.digest("old-secret")
    kept = {"hosts": "A.test,\nb.test", "email": "x@\ny", "comment": b".\xff\n."}
    replica.client.hset(keys.record(digest), mapping=kept)
    replica.client.expire(keys.record(digest), 600)
    replica.catalog.page(1)
    assert replica.ask("old-secret") is Verdict.ALLOWED

    replica.pass_end("old-secret")
    replica.catalog.page(1)

    assert listed(replica) == [(f"0{digest[:15]}", Ending.EXPIRED, ("a.test", "b.test"), "x@ y", ".\ufffd .")]


def test_script_and_store_write_the_same(replica: Replica) -> None:
    """take.lua writes the marker of a token that another program wrote as the store would."""
    long = {
        "hosts": ",".join(f"h{number}.test" for number in range(300)),
        "email": "é" * 200,
        "comment": "é" * 400,
    }
    digest = replica.peppers.digest("old-secret")
    replica.client.hset(keys.record(digest), mapping=long | {"id": "0" * 16})
    replica.client.expire(keys.record(digest), 600)
    replica.ask("old-secret")
    token = replica.catalog.find(digest)

    assert replica.client.get(keys.ended(digest)) == markers.compose(token, token, Ending.EXPIRED)


def test_long_texts_are_cut() -> None:
    """What is remembered is bounded in bytes; a list is cut between hosts, and a text between characters."""
    hosts = tuple(f"h{number}.test" for number in range(300))
    token = make_token(hosts=hosts, email="é" * 200, comment="é" * 400)
    text = markers.compose(token, token, Ending.DELETED)
    read = markers.parse(token.digest, text, keys.REMEMBERED_MS)

    assert len(text) <= MAX_HOSTS + MAX_EMAIL + MAX_COMMENT + 40
    assert read.hosts == (*hosts[: len(read.hosts) - 1], "…")
    assert sum(map(len, read.hosts[:-1])) + len(read.hosts) - 2 <= MAX_HOSTS
    assert (read.email, read.comment) == ("é" * (MAX_EMAIL // 2) + "…", "é" * (MAX_COMMENT // 2) + "…")


def test_marker_of_an_older_version(replica: Replica) -> None:
    """A marker that holds only an id, as an older version wrote it, stands for a token that expired."""
    name, secret = replica.issue(ttl_seconds="600")
    digest = replica.peppers.digest(secret)
    replica.client.set(keys.ended(digest), name, px=keys.REMEMBERED_MS)
    replica.client.delete(keys.record(digest))
    replica.catalog.page(1)

    assert replica.ask(secret) is Verdict.EXPIRED_TOKEN
    assert listed(replica) == [(name, Ending.EXPIRED, (), "", "")]


def test_same_secret_again(replica: Replica) -> None:
    """A new token may have the secret of an ended one, which is then forgotten."""
    name, secret = replica.issue(ttl_seconds="600")
    replica.delete(name)
    again = replica.registry.issue(ACTOR, {"hosts": "b.test"}, secret=secret).token

    assert (listed(replica), replica.ask(secret, "b.test")) == ([], Verdict.ALLOWED)
    replica.delete(again.id)
    assert listed(replica) == [(again.id, Ending.DELETED, ("b.test",), "", "")]


def test_names_of_an_ended_token(replica: Replica) -> None:
    """Whoever looks for an ended token by its id, SHA-256 or secret learns how it ended."""
    name, _ = replica.issue(**FACTS)
    old = replica.catalog.find(name).digest
    _, new = replica.rotate(name, "0")
    replica.delete(name)

    marker, ended_at = keys.ended(replica.peppers.digest(new)), "[0-9T:-]+Z"
    replica.client.pexpire(marker, keys.REMEMBERED_MS - DAY_MS)  # a grace period may end after the token
    for alias in (name, new, replica.peppers.digest(new)):
        with pytest.raises(
            NoSuchTokenError, match=rf"^token {name} ended: deleted on {ended_at}; it was valid for a\.test, "
        ):
            replica.catalog.find(alias)
    with pytest.raises(NoSuchTokenError, match=f"^token {name} ended: replaced on"):
        replica.catalog.find_public(old)


def test_secret_that_looks_like_a_digest(replica: Replica) -> None:
    """An ended token whose secret is 64 hex digits is found by it, but not where a secret does not belong."""
    secret = "0123456789abcdef" * 4
    name = replica.registry.issue(ACTOR, {"hosts": "a.test"}, secret=secret).token.id
    replica.delete(name)

    with pytest.raises(NoSuchTokenError, match=f"^token {name} ended: deleted on"):
        replica.catalog.find(secret)
    with pytest.raises(NoSuchTokenError, match=r"^no token has that id or SHA-256"):
        replica.catalog.find_public(secret)


def test_expired_token_that_was_not_listed_yet(replica: Replica) -> None:
    """An expired token is found by its id at once, before any list was shown."""
    name, secret = replica.issue(ttl_seconds="600")
    replica.pass_end(secret)

    with pytest.raises(NoSuchTokenError, match=f"^token {name} ended: expired on"):
        replica.catalog.find(name)
    assert [token.id for token in replica.catalog.ended().tokens] == [name]


@pytest.mark.parametrize(
    ("typed", "expected"),
    [("", "210"), ("x2.test", "2"), ("@1", "1"), ("*.test", ""), ("1", "210"), ("JOB x1", "1")],
)
def test_search(replica: Replica, typed: str, expected: str) -> None:
    """Ended tokens are searched like those that exist, in pages."""
    for number in range(3):
        name, _ = replica.issue(hosts=f"x{number}.test", email=f"a@{number}.test", comment=f"job x{number}")
        replica.delete(name)
    found, start = "", None
    while True:
        page = replica.catalog.ended(typed, start, 1)
        found += "".join(token.hosts[0][1] for token in page.tokens)
        if not (start := page.more):
            break

    assert sorted(found) == sorted(expected)
    assert page.total == 3


def following(replica: Replica, start: str | None) -> list[str]:
    """Return the ids of the ended tokens from the cursor *start* on, read one by one."""
    found = []
    while start:
        page = replica.catalog.ended("", start, 1)
        assert page.more != start
        found += [token.id for token in page.tokens]
        start = page.more
    return found


@pytest.mark.parametrize(
    "ages", [(0, 0, 0, 0, 0), (4, 3, 2, 1, 0), (2, 1, 1, 1, 0), (0.75, 0.5, 0.5, 0.25, 0)]
)
def test_entry_of_a_cursor_vanishes(replica: Replica, ages: tuple[float, ...]) -> None:
    """A list continues after an entry that was forgotten in between; no other is left out or repeated."""
    now_s = int(replica.client.time()[0]) - 10
    for age in ages:
        name, secret = replica.issue()
        replica.delete(name)
        entry = keys.index_entry(name, replica.peppers.digest(secret))
        replica.client.zadd(keys.ENDED, {entry: now_s - age})
    everything = [token[0] for token in listed(replica)]
    first = replica.catalog.ended("", None, 2)
    (vanished,) = replica.client.zrange(keys.ENDED, 2, 2, desc=True)
    replica.client.zrem(keys.ENDED, vanished)

    assert [token.id for token in first.tokens] == everything[:2]
    assert everything[2].encode() == vanished[:16]
    assert following(replica, first.more) == everything[3:]


def test_list_in_haste(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list that could not drop all invalid entries in time continues, even at one of them."""
    names = [replica.issue()[0] for _ in range(3)]
    for name in names:
        replica.delete(name)
    now_s = int(replica.client.time()[0])
    replica.client.zadd(keys.ENDED, dict.fromkeys(replica.client.zrange(keys.ENDED, 0, -1), now_s))
    junk = [b"junk", b"\xff" * 48, b"\xfe" * 49, b"0", b"", b"0" * 47]
    replica.client.zadd(keys.ENDED, dict.fromkeys(junk, now_s))
    monkeypatch.setattr(ended, "_PATIENCE_S", -1)
    monkeypatch.setattr(replica.client, "zrem", lambda *_: pytest.fail("it is too late"))

    first = replica.catalog.ended("", None, 1)
    assert sorted([token.id for token in first.tokens] + following(replica, first.more)) == sorted(names)


def test_last_to_end_comes_first(replica: Replica) -> None:
    """Ended tokens are listed by when they ended, whenever they were created."""
    names = {}
    for age in (3, 1, 2):
        names[age], secret = replica.issue(ttl_seconds="600")
        replica.pass_end(secret)
        replica.client.pexpire(keys.ended(replica.peppers.digest(secret)), keys.REMEMBERED_MS - age * DAY_MS)
    replica.catalog.page(1)

    assert [token[0] for token in listed(replica)] == [names[age] for age in (1, 2, 3)]


def test_number_is_bounded(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the maximum, those that ended first are forgotten, together with their markers."""
    monkeypatch.setattr(ended, "MAX_ENDED", 3)
    issued = [replica.issue() for _ in range(6)]
    for age, (name, secret) in enumerate(issued):
        replica.delete(name)
        entry = keys.index_entry(name, replica.peppers.digest(secret))
        replica.client.zadd(keys.ENDED, {entry: int(replica.client.time()[0]) - 100 + age})

    assert [token[0] for token in listed(replica)] == [name for name, _ in issued[:2:-1]]
    assert len(replica.client.keys("*}:ended")) == 3


def test_forgetting_spares_tokens_that_exist(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry that is dropped because there are too many never costs a living token its marker."""
    name, secret = replica.issue()
    replica.delete(name)
    replica.registry.issue(ACTOR, {"hosts": "a.test", "ttl_seconds": "600"}, secret=secret)
    monkeypatch.setattr(ended, "MAX_ENDED", 0)
    other, _ = replica.issue()
    replica.delete(other)
    replica.pass_end(secret)

    assert replica.ask(secret) is Verdict.EXPIRED_TOKEN


def test_restored_token(replica: Replica) -> None:
    """A deleted token that a backup brings back is not listed as ended, whatever its marker says."""
    name, secret = replica.issue()
    record, kept = replica.record(secret), replica.client.hgetall(replica.record(secret))
    replica.delete(name)
    replica.client.hset(record, mapping=kept)

    assert (listed(replica), replica.ask(secret)) == ([], Verdict.ALLOWED)
    assert [token.id for token in replica.catalog.page(1).tokens] == [name]


def test_record_deleted_by_another_program(replica: Replica) -> None:
    """A token whose record another program deleted before its end has not ended in a known way."""
    name, secret = replica.issue(ttl_seconds="600")
    replica.client.delete(replica.record(secret))

    assert (listed(replica), replica.ask(secret)) == ([], Verdict.UNKNOWN_TOKEN)
    with pytest.raises(NoSuchTokenError, match="it may have expired"):
        replica.catalog.find(name)


def test_same_secret_while_it_is_being_stored(replica: Replica) -> None:
    """The entry of a token whose record is not written yet is not taken for that of an ended one."""
    name, secret = replica.issue()
    replica.delete(name)
    entry = keys.index_entry(mint_id(int(time.time() * 1000)), replica.peppers.digest(secret))
    replica.client.zadd(keys.INDEX, {entry: 0})

    assert [token[0] for token in listed(replica)] == [name]
    assert replica.client.zrange(keys.INDEX, 0, -1) == [entry]


def test_forgotten_after_30_days(replica: Replica) -> None:
    """A token is neither listed nor found once its marker has expired."""
    name, secret = replica.issue()
    replica.delete(name)
    replica.client.delete(keys.ended(replica.peppers.digest(secret)))  # simulates its expiry

    assert listed(replica) == []
    assert not replica.client.exists(keys.ENDED)
    with pytest.raises(NoSuchTokenError, match="it may have expired"):
        replica.catalog.find(name)


def test_expired_tokens_do_not_pile_up(replica: Replica) -> None:
    """Creating tokens moves those that expired, so that the index stays short although nobody looks at it."""
    for _ in range(60):
        _, secret = replica.issue(ttl_seconds="600")
        replica.pass_end(secret)

    assert replica.client.zcard(keys.INDEX) <= 20
    assert len(replica.client.keys("*}:ended")) == 60


def test_sweep_continues(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list that could not check all tokens in time says so, and the next one continues."""
    monkeypatch.setattr(index_pages, "_SAMPLE_SIZE", 0)
    digests = [f"{number:064x}" for number in range(600)]
    for digest in digests:
        marker, entry = keys.ended(digest), keys.index_entry(f"0{digest[-15:]}", digest)
        replica.client.set(marker, f"0{digest[-15:]}", px=keys.REMEMBERED_MS)
        replica.client.zadd(keys.INDEX, {entry: 0})
    with monkeypatch.context() as patch:
        patch.setattr(index_pages, "_PATIENCE_S", -1)
        first, second = replica.catalog.ended(), replica.catalog.ended()

    assert (first.total, first.is_whole, second.total, second.is_whole) == (250, False, 500, False)
    assert [replica.catalog.ended().is_whole for _ in range(2)] == [False, True]
    assert len(list(replica.catalog.all_ended())) == 600


@pytest.mark.parametrize("kind", ["string", "list", "hash", "junk"])
@pytest.mark.parametrize("name", [keys.ENDED, keys.SWEEP_CURSOR])
def test_foreign_data(replica: Replica, name: str, kind: str) -> None:
    """What another program wrote in place of the list prevents neither a deletion nor the list."""
    token_id, secret = replica.issue()
    replica.client.delete(name)
    if kind == "junk" and name == keys.ENDED:
        replica.client.zadd(name, {b"junk": 1, b"\xff" * 48: 5, b"\xfe" * 48: 2**62})
    elif kind in {"string", "junk"}:
        replica.client.set(name, "junk")
    elif kind == "list":
        replica.client.rpush(name, "junk")
    else:
        replica.client.hset(name, "junk", 1)

    replica.delete(token_id)

    assert listed(replica) == [(token_id, Ending.DELETED, ("a.test",), "", "")]
    with pytest.raises(NoSuchTokenError, match="deleted"):
        replica.catalog.find(token_id)
    assert replica.ask(secret) is Verdict.UNKNOWN_TOKEN


@pytest.mark.parametrize("kind", ["hash", "list", "set"])
def test_marker_of_another_type(replica: Replica, kind: str) -> None:
    """A marker that is no string harms nothing: the token works, and can be changed, rotated and deleted."""
    name, secret = replica.issue(ttl_seconds="600")
    for _ in range(4):
        marker = keys.ended(replica.peppers.digest(secret))
        replica.client.delete(marker)
        command = {
            "hash": ("HSET", marker, "hosts", "*"),
            "list": ("RPUSH", marker, "x"),
            "set": ("SADD", marker, "x"),
        }
        replica.client.execute_command(*command[kind])
        assert replica.ask(secret) is Verdict.ALLOWED
        replica.edit(name, {"comment": "x"})
        _, secret = replica.rotate(name, "0")

    replica.delete(name)
    assert replica.ask(secret) in ABSENT
    assert name in {token[0] for token in listed(replica)}


def test_full_server(real_client: Any) -> None:
    """When memory is full, a deletion works and the log still learns of it; lists work, too."""
    replica = Replica(real_client, "pepper")
    issued = [replica.issue(ttl_seconds="600") for _ in range(2)]
    replica.pass_end(issued[0][1])
    real_client.config_set("maxmemory", 1)
    try:
        replica.delete(issued[1][0])
        assert replica.catalog.ended().total <= 1
    finally:
        real_client.config_set("maxmemory", 0)

    assert replica.decide(issued[1][1]).ending is Ending.DELETED


def test_memory(real_client: Any) -> None:
    """An ended token takes less than 500 bytes of Redis with usual facts, and 2 500 with the longest."""
    replica = Replica(real_client, "pepper")
    hosts = ",".join(f"{number:03}{'h' * 57}.test" for number in range(60))
    for fields, limit in (
        (FACTS, 500),
        ({"hosts": hosts, "email": f"{'e' * 64}@{'x.' * 92}xy", "comment": "c" * 500}, 2500),
    ):
        name, secret = replica.issue(**fields)
        replica.delete(name)
        marker = real_client.memory_usage(keys.ended(replica.peppers.digest(secret)))
        assert marker + 150 <= limit


def test_rotated_before_it_is_deleted(replica: Replica) -> None:
    """A token that is rotated between being found and being deleted stays, and is not listed as deleted."""
    name, old = replica.issue(**FACTS)
    found = replica.catalog.find(name)
    _, secret = replica.rotate(name, "600")

    with pytest.raises(NoSuchTokenError):
        replica.registry.delete(ACTOR, found)
    assert [replica.ask(each) for each in (old, secret)] == [Verdict.ALLOWED] * 2
    assert Ending.DELETED not in {token.ending for token in replica.catalog.all_ended()}
