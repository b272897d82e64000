"""Guessers on real sockets, one behind a real Traefik."""

from __future__ import annotations

from base64 import b64encode
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import Any

import pytest

from app.core.logins import WRONG_IN_ALL, WRONG_PER_CLIENT
from tests.harness import BASIC, Backend, Connection, Gunicorn, RedisServer, Traefik

pytestmark = pytest.mark.e2e

N, ALL = WRONG_PER_CLIENT.max_requests, WRONG_IN_ALL.max_requests


@pytest.fixture(scope="module", name="service")
def _service(redis_server: RedisServer) -> Iterator[Gunicorn]:
    """Run two workers that take our word for the address of a client."""
    options = {"trusted_proxies": "private", "web_concurrency": 2, "redis_deadline_ms": 5000}
    with Gunicorn(redis_server.port, **options) as service:
        yield service


@pytest.fixture(autouse=True)
def _empty(redis: Any) -> None:
    redis.flushall()


def basic(password: str) -> tuple[str, str]:
    """Return the header that presents *password*."""
    return "Authorization", "Basic " + b64encode(f"operator:{password}".encode()).decode()


def page(service: Gunicorn, client: str, credential: tuple[str, str] = ("Authorization", BASIC)) -> int:
    """Return the status of the first page for *client*."""
    with Connection(service.port) as connection:
        return connection.call("/", [credential, ("X-Forwarded-For", client)]).status


def guess(service: Gunicorn, clients: list[str], connections: int = 20) -> Counter[int]:
    """Send a wrong password for each of *clients*, over several connections at once."""

    def some(number: int) -> list[int]:
        with Connection(service.port, timeout_s=60) as connection:
            return [
                connection.call("/", [basic(f"{number}-{at}"), ("X-Forwarded-For", client)]).status
                for at, client in enumerate(clients[number::connections])
            ]

    with ThreadPoolExecutor(connections) as pool:
        return Counter(chain.from_iterable(pool.map(some, range(connections))))


def test_ten_thousand_guesses(service: Gunicorn, redis: Any) -> None:
    """Ten of ten thousand passwords are looked at; the operator elsewhere notices nothing, nor does Redis."""
    assert guess(service, ["203.0.113.7"] * 10_000) == {401: N, 429: 10_000 - N}

    assert page(service, "203.0.113.7") == 429
    assert page(service, "198.51.100.1") == 200
    assert len(redis.keys("*logins*")) == 2
    assert redis.dbsize() <= 3  # and where the search for others' tokens goes on


def test_many_guessers(service: Gunicorn, redis: Any) -> None:
    """A thousand addresses get as many answers as are allowed in all; the operator's own still works."""
    assert page(service, "198.51.100.1") == 200
    assert guess(service, [f"10.1.{n // 250}.{n % 250}" for n in range(1_000)]) == {
        401: ALL,
        429: 1_000 - ALL,
    }

    assert page(service, "198.51.100.1") == 200
    assert page(service, "198.51.100.2") == 429
    assert len(redis.keys("*logins*")) == 2
    assert redis.dbsize() <= 3  # and where the search for others' tokens goes on


def test_forged_address(service: Gunicorn, echo: Backend) -> None:
    """Behind Traefik a guesser can't be somebody else, nor shut somebody else out."""
    with Traefik(service.port, echo.port) as traefik:
        codes = [
            traefik.call(
                host="admin.test", headers=[basic("wrong"), ("X-Forwarded-For", f"203.0.113.{n}")]
            ).status
            for n in range(N + 1)
        ]

    assert codes == [401] * N + [429]
    assert page(service, "203.0.113.1") == 200
