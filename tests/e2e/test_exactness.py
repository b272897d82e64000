"""The rate limit is exact across workers and replicas, and only allowed requests count toward it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import Any

import pytest

from devkit.http import Connection, bearer, forwarded
from devkit.load import hammer
from devkit.redis_server import RedisServer
from devkit.service import Gunicorn, record_key

pytestmark = pytest.mark.e2e

_LIMIT = 500


@pytest.fixture(scope="module", name="replicas")
def _replicas(redis_server: RedisServer) -> Iterator[list[int]]:
    """Return the ports of two services with three workers each that share one Redis."""
    setting = {"web_concurrency": 3, "rate_limit_max": _LIMIT, "rate_limit_window_sec": 60}
    # These tests measure exactness, not time, so the deadline allows for a busy machine.
    setting["redis_deadline_ms"] = 5000
    with Gunicorn(redis_server.port, **setting) as first, Gunicorn(redis_server.port, **setting) as second:
        yield [first.port, second.port]


def test_exactly_the_limit(replicas: list[int], token: str) -> None:
    """Concurrent requests to all workers of all replicas are admitted exactly up to the limit."""
    counts = hammer(replicas, [*forwarded("a.test"), *bearer(token)], clients=50, each=30)
    assert counts == {200: _LIMIT, 429: 1000}


def test_two_tokens(replicas: list[int], service: Gunicorn) -> None:
    """Exhausting one token's limit does not affect another token."""
    for token in (service.issue("a.test"), service.issue("a.test")):
        counts = hammer(replicas, [*forwarded("a.test"), *bearer(token)], clients=50, each=12)
        assert counts == {200: _LIMIT, 429: 100}


def test_refusals_are_free(replicas: list[int], token: str, redis: Any) -> None:
    """A request refused for its host or its rate limit does not count toward the limit."""
    assert set(hammer(replicas, [*forwarded("b.test"), *bearer(token)], 20, 20)) == {403}
    assert hammer(replicas, [*forwarded("a.test"), *bearer(token)], 20, 30) == {200: _LIMIT, 429: 100}
    assert redis.llen(f"{{{record_key(token)}}}:window") == _LIMIT


def test_own_limit(replicas: list[int], token: str, redis: Any) -> None:
    """A limit in a token's record overrides the service's default."""
    redis.hset(record_key(token), mapping={"rate_limit_max": 7, "rate_limit_window_sec": 60})
    assert hammer(replicas, [*forwarded("a.test"), *bearer(token)], 20, 5) == {200: 7, 429: 93}


def test_unlimited(replicas: list[int], token: str, redis: Any) -> None:
    """A limit of 0 means unlimited, and no timestamps are stored."""
    redis.hset(record_key(token), "rate_limit_max", 0)
    assert hammer(replicas, [*forwarded("a.test"), *bearer(token)], 20, 40) == {200: 800}
    assert not redis.exists(f"{{{record_key(token)}}}:window")


def test_window_expires(replicas: list[int], token: str, redis: Any) -> None:
    """A token's timestamps expire with its window."""
    hammer(replicas, [*forwarded("a.test"), *bearer(token)], 4, 4)
    assert 0 < redis.pttl(f"{{{record_key(token)}}}:window") <= 60_000


def test_answers_are_not_mixed_up(replicas: list[int], service: Gunicorn) -> None:
    """Concurrent requests with many tokens never get one another's answers."""
    hosts = ("one.test", "two.test", "three.test", "four.test")
    tokens = {host: service.issue(host, comment=host) for host in hosts}

    def client(number: int) -> None:
        with Connection(replicas[number % 2]) as connection:
            for own, requested in product(hosts, hosts):
                answer = connection.call("/auth", [*forwarded(requested), *bearer(tokens[own])])
                identity = (answer.status, answer.headers.get("x-auth-comment"))
                assert identity == ((200, own) if own == requested else (403, None))

    with ThreadPoolExecutor(24) as pool:
        list(pool.map(client, range(96)))
