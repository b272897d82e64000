"""What all tokens add up to: the census reads the usage of each, and few tokens are added up live."""

from __future__ import annotations

import random
from struct import pack
from typing import Any

import pytest

from app.core.tokens import mint_id
from app.core.totals import Totals
from app.core.usage import DAYS, HOURS, Counts, total
from app.store import census, keys, usage
from devkit.replica import Replica

DAY_S, HOUR_S = 86_400, 3600


@pytest.fixture
def replica(client: Any) -> Replica:
    """Return a replica on an empty database."""
    return Replica(client, "pepper")


def write(client: Any, count: int) -> dict[str, bytes]:
    """Write tokens with random counters, whose last use was at any time, and return the usage strings."""
    chance, now_s = random.Random(5), int(client.time()[0])
    pipe, written = client.pipeline(transaction=False), dict[str, bytes]()
    for number in range(count):
        digest, name = chance.randbytes(32).hex(), mint_id(1_700_000_000_000 + number)
        last = now_s // HOUR_S - chance.choice((0, 0, 1, 23, 24, 47, 48, 500, 2159, 2200, -1, -(10**5)))
        counters = [chance.choice((0, 0, 1, 2**32 - 1)) for _ in range((HOURS + DAYS) * 4)]
        written[digest] = pack(f">{len(counters) + 1}I", last, *counters)[: chance.choice((2212, 900))]
        pipe.hset(keys.record(digest), mapping={"hosts": "a.test", "id": name})
        pipe.set(keys.usage(digest), written[digest])
        pipe.zadd(keys.INDEX, {keys.index_entry(name, digest): 0})
    pipe.execute()
    return written


def totals_of(replica: Replica) -> Totals:
    """Return the totals, which there are."""
    found = replica.catalog._store.totals()
    assert found
    return found


@pytest.mark.parametrize("few", [1000, -1], ids=["live", "census"])
def test_totals_are_the_sum_of_what_each_token_shows(
    replica: Replica, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    """Each hour and day has the sum over all tokens, however long ago each was used."""
    monkeypatch.setattr(census, "_FEW", few)
    written = write(replica.client, 60)
    if few < 0:
        replica.catalog._store.take_census()
    found = totals_of(replica)
    each = {digest: usage.parse(text, found.taken_at) for digest, text in written.items()}
    recent = {digest: one.last_24_hours for digest, one in each.items()}

    for name in ("hours", "days"):
        columns = zip(*(getattr(one, name) for one in each.values()), strict=True)
        assert getattr(found.traffic, name) == tuple(map(total, columns))
    busiest = [(recent[use.digest].allowed, use.allowed, use.refused) for use in found.traffic.busiest]
    refused = [(recent[use.digest].refused, use.refused) for use in found.traffic.most_refused]
    assert [row[0] for row in busiest] == sorted((use.allowed for use in recent.values()), reverse=True)[:10]
    assert [row[0] for row in refused] == sorted((use.refused for use in recent.values()), reverse=True)[:10]
    assert all(shown == kept for shown, kept, *_ in [*busiest, *refused])


def test_no_use_and_bad_usage_add_nothing(replica: Replica) -> None:
    """A key of another type harms no other token, and tokens that were never used are counted as such."""
    used, old, fresh = (replica.catalog.find(replica.issue()[0]) for _ in range(3))
    now_s = int(replica.client.time()[0])
    replica.client.lpush(keys.usage(fresh.digest), "x")
    replica.client.set(keys.usage(old.digest), b"ab")
    replica.client.hset(keys.record(used.digest), "last_used_at", now_s)
    past = now_s - 91 * DAY_S
    replica.client.hset(keys.record(old.digest), mapping={"created_at": past, "last_used_at": past})
    found = totals_of(replica)

    assert found.traffic.unused == (1, 1)
    assert (found.traffic.busiest, found.traffic.most_refused) == ((), ())
    assert {*found.traffic.hours, *found.traffic.days} == {Counts()}


@pytest.mark.parametrize("text", [None, "x", "{}", '{"hours":[[1]],"days":[]}', "[[[[", "7"])
def test_census_of_another_version_has_no_totals(
    replica: Replica, monkeypatch: pytest.MonkeyPatch, text: str | None
) -> None:
    """What an older version or another program left in the hash gives counts, and no totals."""
    monkeypatch.setattr(census, "_FEW", -1)
    write(replica.client, 3)
    replica.catalog._store.take_census()
    assert totals_of(replica).count == 3
    replica.client.hdel(keys.CENSUS, "traffic")
    if text is not None:
        replica.client.hset(keys.CENSUS, "traffic", text)

    assert replica.catalog._store.totals() is None
    assert replica.catalog.counts()
