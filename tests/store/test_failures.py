"""Bad tokens are counted exactly, in bounded memory."""

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
    """Return the state of a newly started worker."""
    return RedisFailures(client, limit, deadline_s=20)


def advance(client: Any, us: int) -> None:
    """Simulate the passing of *us* microseconds by making the stored failures of ME older."""
    times = [int(time) - us for time in client.lrange(keys.failures(ME), 0, -1)]
    client.pipeline().delete(keys.failures(ME)).rpush(keys.failures(ME), *times).execute()


def test_limit(client: Any) -> None:
    """A client that reaches the limit of bad tokens is blocked locally; other clients are not."""
    first_worker = worker(client)

    began = time.monotonic()
    assert [(first_worker.blocking(ME), first_worker.note(ME)) for _ in range(3)] == [(None, None)] * 3
    refusal = first_worker.blocking(ME)
    passed_s = time.monotonic() - began
    assert refusal
    assert refusal.limit == LIMIT
    assert 60 - passed_s <= refusal.retry_after_s <= 60
    assert first_worker.blocking("198.51.100.1") is None


@pytest.mark.parametrize(
    "key",
    [keys.failures(ME), keys.FAILED_CLIENTS, keys.FURTHER_FAILURES, keys.network_failures("203.0.113.0/24")],
)
@pytest.mark.parametrize("kind", ["SET", "RPUSH", "SADD"])
def test_keys_of_another_type(client: Any, key: str, kind: str) -> None:
    """A key of the wrong type is replaced, and counting starts again."""
    client.execute_command(kind, key, "junk")
    first_worker = worker(client)

    assert [first_worker.note(ME) for _ in range(3)] == [None] * 3
    assert first_worker.note(ME)


def test_block_by_another_worker(client: Any) -> None:
    """A worker that has seen no failures blocks the client when it reports the first one."""
    first_worker, second_worker = worker(client), worker(client)
    for _ in range(3):
        first_worker.note(ME)

    assert second_worker.blocking(ME) is None
    assert second_worker.note(ME)
    assert second_worker.blocking(ME)


def test_wait(client: Any) -> None:
    """The wait depends on the oldest failure, and failures while blocked do not extend it."""
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
    """A worker drops a block that has expired."""
    first_worker = worker(client)
    for _ in range(3):
        first_worker.note(ME)
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 60)

    assert first_worker.blocking(ME) is None
    assert not first_worker._ends


def test_concurrent_failures(real_client: Any) -> None:
    """Concurrent failures are counted exactly like sequential ones."""
    with ThreadPoolExecutor(16) as pool:
        counted = Counter(pool.map(lambda _: worker(real_client).note(ME) is None, range(200)))

    assert counted == {True: 3, False: 197}


def test_memory_is_bounded(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A limited number of clients have lists of their own, and all keys expire with the window."""
    monkeypatch.setattr(failures, "MAX_CLIENTS", 20)
    first_worker = worker(client, Limit(1, 60))
    for number in range(50):
        first_worker.note(f"10.0.{number}.1")

    assert len(client.keys("{acl:failures}:of:*")) == len(client.keys("{acl:failures}:in:*")) == 20
    assert len(client.keys()) == 42
    assert len(first_worker._ends) == 20
    assert all(0 < client.ttl(key) <= 61 for key in client.scan_iter())
    client.zadd(keys.FAILED_CLIENTS, {"10.0.0.1": 1})
    client.delete(keys.failures("10.0.0.1"))
    first_worker.note("10.0.99.1")
    assert client.exists(keys.failures("10.0.99.1"))


def test_further_clients(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients beyond the maximum share one counter, and are blocked by it."""
    monkeypatch.setattr(failures, "MAX_CLIENTS", 2)
    first_worker = worker(client)
    for number in range(2):
        first_worker.note(f"10.0.{number}.1")
    counted = [first_worker.note(f"10.1.{number}.1") is None for number in range(5)]

    assert counted == [True] * 3 + [False] * 2
    assert first_worker.blocking("10.1.4.1")
    assert first_worker.blocking("10.1.9.1") is None
    assert [first_worker.note("10.0.0.1") is None for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize(
    ("pattern", "prefix"),
    [("2001:db8:0:{:x}::/64", "56"), ("2001:db8:0:{:x}00::/64", "48"), ("203.0.113.{}", "24")],
)
def test_network(client: Any, pattern: str, prefix: str) -> None:
    """Addresses of one network share a higher limit, after which the network is blocked."""
    first_worker, limit = worker(client), NETWORK_FACTORS[prefix] * LIMIT.max_requests
    counted = [first_worker.note(pattern.format(number)) is None for number in range(60)]

    assert counted == [True] * limit + [False] * (60 - limit)
    assert (first_worker.blocking(pattern.format(99)) is not None) == is_one_customers(pattern)
    assert first_worker.blocking(pattern.format(59))
    assert worker(client).note(pattern.format(99))
    assert first_worker.blocking("198.51.100.1") is first_worker.note("198.51.100.1") is None
    assert client.llen(keys.network_failures(networks_of(pattern.format(0))[-1])) == limit


def test_clock_set_back(client: Any) -> None:
    """Timestamps from a clock that was far ahead block no client."""
    for _ in range(3):
        worker(client).note(ME)
    advance(client, -200_000_000)

    assert worker(client).note(ME) is None
