"""Lists of tokens by filter and order, page by page, and the census that keeps the orders."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest

from app.core.fields import ClashingFieldsError
from app.core.listing import ALL, Filter, Order, Sort
from app.core.search import by_host, understand
from app.core.tokens import DIGEST, Status, Token, mint_id
from app.store import census, keys, listings
from app.store.index import Index, Place
from app.store.tokens import RedisTokens
from devkit.replica import Replica
from tests.store.test_bad_records import BAD_FIELDS, OTHER_TYPES

SORTED = [Order(sort, descending) for sort in Sort for descending in (True, False)]
DAY_S = 86_400
FAR_S = 4_000_000_000  # the expiries of tests do not pass while they run


@pytest.fixture
def replica(client: Any) -> Replica:
    """Return a replica on an empty database."""
    return Replica(client, "pepper")


def seconds(client: Any) -> int:
    """Return the time of the server."""
    return int(client.time()[0])


def write(client: Any, count: int, *, indexed: bool = True, seed: int = 1) -> None:
    """Write records as another program does; many share an expiry or a last use, many have neither."""
    chance, pipe = random.Random(seed), client.pipeline(transaction=False)
    for number in range(count):
        digest, name = chance.randbytes(32).hex(), mint_id(1_700_000_000_000 + number // 3)
        used = {"last_used_at": chance.choice((1_700_000_040, 1_700_000_100))} if number % 3 else {}
        pipe.hset(keys.record(digest), mapping={"hosts": "a.test", "id": name} | used)
        if number % 4:
            pipe.expireat(keys.record(digest), chance.choice((FAR_S, FAR_S + 1, FAR_S + number)))
        if indexed:
            pipe.zadd(keys.INDEX, {keys.index_entry(name, digest): 0})
    pipe.execute()


def pages(
    replica: Replica,
    order: Order,
    wanted: Filter = ALL,
    size: int = 50,
    between: Callable[[], Any] = lambda: 0,
) -> list[Token]:
    """Return all tokens of a list, read page by page; *between* runs after each page."""
    found = replica.catalog.listed(wanted, order, size=size)
    tokens = [*found.tokens]
    while found.more:
        between()
        found = replica.catalog.listed(wanted, order, found.more, size)
        assert len(found.tokens) <= size
        tokens += found.tokens
    return tokens


def expected(tokens: list[Token], order: Order) -> list[str]:
    """Return the ids of *tokens* in an order, by the tokens themselves."""

    def key(token: Token) -> tuple[float, str, str]:
        score = {
            Sort.CREATED_AT: 0.0,
            Sort.LAST_USED_AT: token.last_used_at or float("-inf"),
            Sort.EXPIRES_AT: token.expires_at or float("inf"),
        }[order.sort]
        return score, token.id, token.digest

    return [token.digest for token in sorted(tokens, key=key, reverse=order.descending)]


@pytest.mark.parametrize("order", SORTED, ids=str)
def test_order(replica: Replica, order: Order) -> None:
    """Pages list every token once, in the right order, whatever wrote the tokens."""
    write(replica.client, 40)
    write(replica.client, 20, indexed=False, seed=2)
    for ttl_s in ("0", "600"):
        replica.issue(ttl_seconds=ttl_s)
    listed = pages(replica, order, size=7)

    assert len(listed) == 62
    assert [token.digest for token in listed] == expected(listed, order)
    assert listed == pages(replica, order, size=500) == [*replica.catalog.all_listed(ALL, order)]


@pytest.mark.parametrize("order", SORTED, ids=str)
def test_unchanged_tokens_are_neither_skipped_nor_repeated(replica: Replica, order: Order) -> None:
    """Whatever is created, used, edited and deleted between two pages, every other token is listed once."""
    write(replica.client, 40)
    before, chance = {token.digest for token in pages(replica, order)}, random.Random(3)
    changed: set[str] = set()

    def change() -> None:
        _, secret = replica.issue(ttl_seconds=chance.choice(("0", "600")))
        victims = sorted(before - changed)
        deleted, edited = chance.sample(victims, 2)
        changed.update((deleted, edited))
        replica.delete(deleted)
        replica.edit(edited, {"ttl_seconds": chance.choice(("0", "600"))})
        replica.ask(secret)

    listed = Counter(token.digest for token in pages(replica, order, size=5, between=change))
    assert {digest for digest, times in listed.items() if times > 1} <= changed
    assert {digest for digest in before - changed if listed[digest] != 1} == set()


def test_one_score_for_all(real_client: Any) -> None:
    """Twenty thousand tokens with one expiry are listed once each, also from a cursor that was dropped."""
    entries = {mint_id(number).encode() + random.Random(number).randbytes(32): 5 for number in range(20_000)}
    real_client.zadd(keys.INDEX, dict.fromkeys(entries, 0))
    real_client.zadd(keys.EXPIRES_AT, entries)
    index = Index(real_client)
    for descending in (True, False):
        slices = index.walk_sorted(Sort.EXPIRES_AT, None, descending=descending)
        found = [place.entry for places, _ in slices for place in places]
        assert found == sorted(entries, reverse=descending)
        start = Place(found[9_000], "5")
        real_client.zrem(keys.EXPIRES_AT, start.entry)
        places, _ = next(index.walk_sorted(Sort.EXPIRES_AT, start, descending=descending))
        assert [place.entry for place in places] == found[9_001:9_251]
        real_client.zadd(keys.EXPIRES_AT, {start.entry: 5})


def test_changes_keep_the_order(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    """Creation, edit and rotation keep the order by expiry without a census."""
    names = [replica.issue(ttl_seconds=ttl_s)[0] for ttl_s in ("900", "600", "0", "1200")]
    assert replica.catalog.listed(ALL, Order(Sort.EXPIRES_AT)).tokens
    monkeypatch.setattr(census, "_FEW_TO_SORT", -1)

    def ids() -> list[str]:
        return [token.id for token in pages(replica, Order(Sort.EXPIRES_AT, descending=False))]

    first, second, third, fourth = names
    assert ids() == [second, first, fourth, third]
    replica.edit(second, {"ttl_seconds": "0"})
    replica.edit(third, {"ttl_seconds": "300"})
    replica.rotate(first, "60")
    assert ids() == [third, first, fourth, second]


def test_order_is_as_of_the_last_census(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    """Among many tokens a use moves a token at the next census."""
    (old, secret), (new, _) = replica.issue(), replica.issue()
    replica.catalog.listed(ALL, Order(Sort.LAST_USED_AT))
    monkeypatch.setattr(census, "_FEW_TO_SORT", -1)
    replica.ask(secret)

    assert [token.id for token in pages(replica, Order(Sort.LAST_USED_AT))] == [new, old]
    store_of(replica).take_census()
    assert [token.id for token in pages(replica, Order(Sort.LAST_USED_AT))] == [old, new]


def test_tokens_of_other_programs(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    """Among many tokens, what another program wrote is in its place as soon as it is indexed."""
    replica.issue(ttl_seconds="600")
    for sort in (Sort.EXPIRES_AT, Sort.LAST_USED_AT):
        pages(replica, Order(sort))
    monkeypatch.setattr(census, "_FEW_TO_SORT", -1)
    write(replica.client, 20, indexed=False)

    for order in SORTED:
        listed = pages(replica, order)
        assert len(listed) == 21
        assert [token.digest for token in listed] == expected(listed, order)


def store_of(replica: Replica) -> RedisTokens:
    """Return another store on the same database."""
    return RedisTokens(replica.client, replica.pepper_check, 60)


def test_upgraded_database(real_client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that no census has seen is put in order first, over as many calls as that takes."""
    monkeypatch.setattr(listings, "_PATIENCE_S", 0)
    monkeypatch.setattr(census, "_FEW_TO_SORT", -1)
    write(real_client, 1000)
    replica, order = Replica(real_client, "pepper"), Order(Sort.LAST_USED_AT)
    replica.catalog.page(1)
    first = replica.catalog.listed(ALL, order)

    assert (first.tokens, bool(first.more)) == ((), True)
    listed = pages(replica, order, size=500)
    assert [token.digest for token in listed] == expected(listed, order)
    assert len(listed) == 1000


@pytest.mark.parametrize("name", [keys.EXPIRES_AT, keys.LAST_USED_AT, keys.CENSUS])
def test_key_of_another_type(replica: Replica, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key of another type is rebuilt by any operation, and no list loses a token or its order."""
    write(replica.client, 20)
    order, before = Order(Sort.EXPIRES_AT), pages(replica, Order(Sort.EXPIRES_AT))
    monkeypatch.setattr(census, "_FEW_TO_SORT", -1)
    for operation in (
        lambda: pages(replica, order),
        lambda: replica.issue(ttl_seconds="5"),
        replica.catalog.counts,
    ):
        replica.client.delete(name)
        OTHER_TYPES["list"](replica.client, name)
        operation()
        assert [token for token in pages(replica, order) if token in before] == before


def test_invalid_members(replica: Replica) -> None:
    """Members of other programs hide no token, and are removed."""
    names = [replica.issue(ttl_seconds="600")[0] for _ in range(3)]
    junk = [b"", b"x", b"\xff" * 48, b"0" * 49]
    for name in (keys.INDEX, keys.EXPIRES_AT, keys.LAST_USED_AT):
        replica.client.zadd(name, dict.fromkeys(junk, -7.5))
    stale = keys.index_entry(mint_id(0), "ab" * 32)
    replica.client.zadd(keys.EXPIRES_AT, {stale: 3.25})

    for order in SORTED:
        assert sorted(token.id for token in pages(replica, order, size=1)) == sorted(names)
    assert not replica.client.zscore(keys.EXPIRES_AT, stale)
    assert set(replica.client.zrange(keys.EXPIRES_AT, 0, -1)).isdisjoint(junk)


@pytest.mark.parametrize("order", [Order(Sort.EXPIRES_AT), Order(Sort.EXPIRES_AT, descending=False)], ids=str)
def test_scores_of_other_programs(replica: Replica, order: Order, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever another program writes as a score, a list goes on from it, with a cursor fit for a URL."""
    names = sorted(replica.issue()[0] for _ in range(8))
    assert pages(replica, order)
    monkeypatch.setattr(census, "_FEW_TO_SORT", -1)
    scores = (1e20, -1.5e-300, float("inf"), float("-inf"), 0.1, -7, 1.7976931348623157e308)
    replica.client.zadd(
        keys.EXPIRES_AT, dict(zip(replica.client.zrange(keys.INDEX, 0, -1), scores, strict=False))
    )

    cursor = replica.catalog.listed(ALL, order, size=1).more
    assert cursor
    assert cursor == quote(cursor)
    assert sorted(token.id for token in pages(replica, order, size=1)) == names


def described(replica: Replica) -> dict[str, str]:
    """Write tokens of each kind and return their ids by a word for each."""
    made = {
        "plain": replica.issue(email="Ops@a.test", comment="The Laptop")[0],
        "soon": replica.issue(hosts="*.b.test", ttl_seconds="600", comment="laptop")[0],
        "later": replica.issue(hosts="b.test", ttl_seconds=f"{30 * DAY_S}")[0],
        "off": replica.issue(email="ops@b.test")[0],
        "early": replica.issue(hosts="c.b.test", not_before="2999-01-01")[0],
        "old": replica.issue(comment="of 1970")[0],
    }
    replica.enable(made["off"], enabled=False)
    token = replica.catalog.find(made["old"])
    replica.client.hset(keys.record(token.digest), "created_at", seconds(replica.client) - 90 * DAY_S)
    return made


FILTERS: dict[str, tuple[Filter, str]] = {
    "status": (Filter(status=Status.EXPIRING), "soon"),
    "disabled": (Filter(status=Status.DISABLED), "off"),
    "not yet valid": (Filter(status=Status.NOT_YET_VALID), "early"),
    "host": (Filter(host=by_host("c.b.test")), "early soon"),
    "pattern": (Filter(host=by_host("*.b.test")), "soon"),
    "email": (Filter(email="OPS@"), "off plain"),
    "comment": (Filter(comment="LAPTOP"), "plain soon"),
    "query and comment": (Filter(query=by_host("a.test"), comment="laptop"), "plain"),
    "email and status": (Filter(email="ops", status=Status.ACTIVE), "plain"),
    "within": (Filter(within_s=DAY_S), "soon"),
    "within long": (Filter(within_s=31 * DAY_S), "later soon"),
    "unused": (Filter(unused_s=89 * DAY_S), "old"),
    "all": (Filter(host=by_host("x.b.test"), comment="lap", status=Status.EXPIRING, within_s=700), "soon"),
    "none": (Filter(email="nobody", comment="lap"), ""),
}


@pytest.mark.parametrize("order", [Order(), Order(Sort.EXPIRES_AT, descending=False)], ids=str)
def test_filters(replica: Replica, order: Order) -> None:
    """Each filter, alone and with others, finds its tokens in every order."""
    made = described(replica)
    names = {token_id: word for word, token_id in made.items()}
    for wanted, words in FILTERS.values():
        listed = pages(replica, order, wanted, size=1)
        assert " ".join(sorted(names[token.id] for token in listed)) == words
        assert [token.digest for token in listed] == expected(listed, order)


def test_used_tokens_are_not_unused(replica: Replica) -> None:
    """A token that was created long ago and used just now is in use."""
    (name, secret), long_ago = replica.issue(), seconds(replica.client) - 90 * DAY_S
    digest = replica.catalog.find(name).digest
    replica.client.hset(keys.record(digest), "created_at", long_ago)
    assert pages(replica, Order(), Filter(unused_s=DAY_S))
    replica.ask(secret)

    assert not pages(replica, Order(), Filter(unused_s=DAY_S))


def test_digest_with_another_filter(replica: Replica) -> None:
    """A SHA-256 finds its token if the other filters fit."""
    name, secret = replica.issue(comment="x")
    digest = replica.peppers.digest(secret)
    assert DIGEST.fullmatch(digest)
    for comment, found in (("x", [name]), ("y", [])):
        wanted = Filter(query=understand(digest, "acl"), comment=comment)
        assert [token.id for token in replica.catalog.listed(wanted).tokens] == found


def test_cursor_of_another_list(replica: Replica) -> None:
    """A cursor holds for its own filter and order alone."""
    for _ in range(3):
        replica.issue()
    lists = [(wanted, order) for order in SORTED for wanted in (ALL, Filter(email=""), Filter(comment=" "))]
    lists += [(wanted, Order()) for wanted, _ in FILTERS.values()]
    lists += [(Filter(query=query), Order()) for query in (by_host("a.test"), understand("a.test", "acl"))]
    cursors = {(wanted, order): replica.catalog.listed(wanted, order, size=1).more for wanted, order in lists}
    for (wanted, order), cursor in cursors.items():
        for other in cursors:
            if cursor and other != (wanted, order):
                with pytest.raises(ClashingFieldsError, match="cursor"):
                    replica.catalog.listed(*other, cursor)


def test_census_agrees_with_the_table(replica: Replica) -> None:
    """The census counts every token by the status that the table shows, bad records included."""
    described(replica)
    for number, write_one in enumerate((OTHER_TYPES | BAD_FIELDS).values()):
        write_one(replica.client, keys.record(f"{number:064x}"))
    now_s, found = seconds(replica.client), [*replica.catalog.all_listed()]
    faulty = {token.digest for token in found if token.fault}
    counts = replica.catalog.counts()

    assert counts
    assert Counter(counts.by_status) == Counter(token.status(now_s) for token in found)
    assert {token.digest for token in pages(replica, Order(), Filter(status=Status.UNREADABLE))} == faulty
    assert len(faulty) == len(OTHER_TYPES | BAD_FIELDS)


def test_result_of_the_census(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    """Among many tokens the counts are those of the last census, and there are none before it."""
    monkeypatch.setattr(census, "_FEW", -1)
    made = described(replica)
    assert replica.catalog.counts() is None
    store_of(replica).take_census()
    replica.delete(made["soon"])

    counts = replica.catalog.counts()
    assert counts
    assert counts.by_status == {
        Status.UNREADABLE: 0,
        Status.ACTIVE: 3,
        Status.EXPIRING: 1,
        Status.NOT_YET_VALID: 1,
        Status.DISABLED: 1,
    }
    assert abs(counts.taken_at - seconds(replica.client)) < 600
    replica.client.hset(keys.CENSUS, "active", "many")
    assert replica.catalog.counts() is None


def test_one_census_at_a_time(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    """A census is taken by one worker, and not again before a pause; it leaves no token out of order."""
    monkeypatch.setattr(census, "_MIN_PAUSE_S", 600)
    write(replica.client, 30)
    store_of(replica)._census.take_turn()
    lock_ms = replica.client.pttl(keys.CENSUS_LOCK)
    first = replica.client.hgetall(keys.CENSUS)
    replica.issue()
    store_of(replica)._census.take_turn()

    assert lock_ms > 500_000
    assert replica.client.hgetall(keys.CENSUS) == first
    assert replica.client.zcard(keys.EXPIRES_AT) > 15


def test_census_takes_what_has_ended_out(replica: Replica) -> None:
    """A census drops the entries of tokens that have expired from every order."""
    for number in range(5):
        entry = keys.index_entry(mint_id(1_700_000_000_000 + number), f"{number:064x}")
        for name in (keys.INDEX, keys.EXPIRES_AT, keys.LAST_USED_AT):
            replica.client.zadd(name, {entry: 0})
    store_of(replica).take_census()

    assert not replica.client.exists(keys.INDEX, keys.EXPIRES_AT, keys.LAST_USED_AT)


def test_census_that_is_right_writes_nothing(real_client: Any) -> None:
    """A second look at the same tokens changes no key."""
    replica = Replica(real_client, "pepper")
    write(real_client, 300)
    assert replica.catalog.counts()
    replica.catalog.listed(ALL, Order(Sort.EXPIRES_AT))
    before = real_client.info("persistence")["rdb_changes_since_last_save"]
    assert replica.catalog.counts()

    assert real_client.info("persistence")["rdb_changes_since_last_save"] == before
