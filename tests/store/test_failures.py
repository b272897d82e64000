"""Bad tokens are counted exactly, and little is kept of them."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from app.core.clients import networks_of
from app.core.failures import NETWORK_FACTORS, is_one_customers
from app.core.limits import Limit
from app.store import failures, keys
from app.store.failures import RedisFailures

LIMIT = Limit(3, 60)
ME = "203.0.113.7"


def worker(client: Any, limit: Limit = LIMIT) -> RedisFailures:
    """Return what a worker knows that has just started."""
    return RedisFailures(client, limit, deadline_s=20)


def advance(client: Any, us: int) -> None:
    """Let time pass by making all that is remembered of ME older."""
    times = [int(time) - us for time in client.lrange(keys.failures(ME), 0, -1)]
    client.pipeline().delete(keys.failures(ME)).rpush(keys.failures(ME), *times).execute()


def test_limit(client: Any) -> None:
    """After so many bad tokens of a client it is turned away without asking; another client is not."""
    mine = worker(client)

    began = time.monotonic()
    assert [(mine.blocking(ME), mine.note(ME)) for _ in range(3)] == [(None, None)] * 3
    refusal = mine.blocking(ME)
    passed_s = time.monotonic() - began
    assert refusal
    assert refusal.limit == LIMIT
    assert 60 - passed_s <= refusal.retry_after_s <= 60
    assert mine.blocking("198.51.100.1") is None


@pytest.mark.parametrize(
    "key",
    [keys.failures(ME), keys.FAILED_CLIENTS, keys.FURTHER_FAILURES, keys.network_failures("203.0.113.0/24")],
)
@pytest.mark.parametrize("kind", ["SET", "RPUSH", "SADD"])
def test_junk_in_their_place(client: Any, key: str, kind: str) -> None:
    """What others put in place of the memory keeps no bad token from its answer: it begins anew."""
    client.execute_command(kind, key, "junk")
    mine = worker(client)

    assert [mine.note(ME) for _ in range(3)] == [None] * 3
    assert mine.note(ME)


def test_other_worker(client: Any) -> None:
    """A worker that saw none of them refuses to tell the first that it sees, and then turns away."""
    mine, other = worker(client), worker(client)
    for _ in range(3):
        mine.note(ME)

    assert other.blocking(ME) is None
    assert other.note(ME)
    assert other.blocking(ME)


def test_wait(client: Any) -> None:
    """The wait is for the oldest, and what came while refused does not prolong it."""
    began = time.monotonic()
    for _ in range(3):
        worker(client).note(ME)
        advance(client, 10_000_000)
    for _ in range(9):
        worker(client).note(ME)
    refusal = worker(client).note(ME)
    passed_s = time.monotonic() - began

    assert refusal
    assert 30 - passed_s <= refusal.retry_after_s <= 30
    advance(client, refusal.wait_us)
    assert worker(client).note(ME) is None


def test_block_ends(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker forgets a block that is over."""
    mine = worker(client)
    for _ in range(3):
        mine.note(ME)
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 60)

    assert mine.blocking(ME) is None
    assert not mine._ends


def test_at_once(real_client: Any) -> None:
    """Of bad tokens that come at once, exactly as many are told as in turn."""
    with ThreadPoolExecutor(16) as pool:
        told = Counter(pool.map(lambda _: worker(real_client).note(ME) is None, range(200)))

    assert told == {True: 3, False: 197}


def test_little_is_kept(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many clients have lists of their own, and what is kept goes with the window."""
    monkeypatch.setattr(failures, "MAX_CLIENTS", 20)
    mine = worker(client, Limit(1, 60))
    for number in range(50):
        mine.note(f"10.0.{number}.1")

    assert len(client.keys("{acl:failures}:of:*")) == len(client.keys("{acl:failures}:in:*")) == 20
    assert len(client.keys()) == 42
    assert len(mine._ends) == 20
    assert all(0 < client.ttl(key) <= 61 for key in client.scan_iter())
    client.zadd(keys.FAILED_CLIENTS, {"10.0.0.1": 1})
    client.delete(keys.failures("10.0.0.1"))
    mine.note("10.0.99.1")
    assert client.exists(keys.failures("10.0.99.1"))


def test_further_clients(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """When there is no room for more clients, all further ones are counted as one, and are turned away."""
    monkeypatch.setattr(failures, "MAX_CLIENTS", 2)
    mine = worker(client)
    for number in range(2):
        mine.note(f"10.0.{number}.1")
    told = [mine.note(f"10.1.{number}.1") is None for number in range(5)]

    assert told == [True] * 3 + [False] * 2
    assert mine.blocking("10.1.4.1")
    assert mine.blocking("10.1.9.1") is None
    assert [mine.note("10.0.0.1") is None for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize(
    ("pattern", "prefix"),
    [("2001:db8:0:{:x}::/64", "56"), ("2001:db8:0:{:x}00::/64", "48"), ("203.0.113.{}", "24")],
)
def test_network(client: Any, pattern: str, prefix: str) -> None:
    """However many addresses a customer has, as many bad tokens are told as may be; then they wait."""
    mine, most = worker(client), NETWORK_FACTORS[prefix] * LIMIT.max_requests
    told = [mine.note(pattern.format(number)) is None for number in range(60)]

    assert told == [True] * most + [False] * (60 - most)
    assert (mine.blocking(pattern.format(99)) is not None) == is_one_customers(pattern)
    assert mine.blocking(pattern.format(59))
    assert worker(client).note(pattern.format(99))
    assert mine.blocking("198.51.100.1") is mine.note("198.51.100.1") is None
    assert client.llen(keys.network_failures(networks_of(pattern.format(0))[-1])) == most


def test_clock_set_back(client: Any) -> None:
    """A clock that was far ahead turns nobody away."""
    for _ in range(3):
        worker(client).note(ME)
    advance(client, -200_000_000)

    assert worker(client).note(ME) is None
