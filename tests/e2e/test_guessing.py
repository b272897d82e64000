"""Guessers on real sockets, one behind a real Traefik."""

from __future__ import annotations

from base64 import b64encode
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from app.core.logins import WRONG_IN_ALL, WRONG_PER_CLIENT
from devkit.backend import Backend
from devkit.http import Answer, Connection, bearer, forwarded
from devkit.load import answered, hammer, send_each
from devkit.redis_server import RedisServer
from devkit.service import BASIC, Gunicorn
from devkit.tally import get
from devkit.traefik import Traefik

pytestmark = pytest.mark.e2e

N, ALL = WRONG_PER_CLIENT.max_requests, WRONG_IN_ALL.max_requests


@pytest.fixture(scope="module", name="server")
def _server() -> Iterator[RedisServer]:
    """Run a Redis of our own: in a shared one, our guesses would shut out other tests."""
    with RedisServer() as server:
        yield server


@pytest.fixture(name="redis", autouse=True)
def _redis(server: RedisServer) -> Any:
    server.client().flushall()
    return server.client()


@pytest.fixture(scope="module", name="service")
def _service(server: RedisServer) -> Iterator[Gunicorn]:
    """Run two workers that take our word for the address of a client."""
    options = {"trusted_proxies": "private", "web_concurrency": 2, "redis_deadline_ms": 5000}
    with Gunicorn(server.port, **options) as service:
        yield service


def basic(password: str) -> tuple[str, str]:
    """Return the header that presents *password*."""
    return "Authorization", "Basic " + b64encode(f"operator:{password}".encode()).decode()


def page(service: Gunicorn, client: str, credential: tuple[str, str] = ("Authorization", BASIC)) -> int:
    """Return the status of the first page for *client*."""
    with Connection(service.port) as connection:
        return connection.call("/", [credential, ("X-Forwarded-For", client)]).status


def guess(service: Gunicorn, clients: list[str], connections: int = 20) -> Counter[int]:
    """Send a wrong password for each of *clients*, over several connections at once."""
    guesses = [
        get("a guess", "/", [basic(f"{number}"), ("X-Forwarded-For", client)], 401)
        for number, client in enumerate(clients)
    ]
    return answered(send_each([service.port], [guesses[first::connections] for first in range(connections)]))


def test_thousands_of_guesses(service: Gunicorn, redis: Any) -> None:
    """Of thousands of passwords few are looked at; the operator elsewhere notices nothing, nor Redis."""
    assert guess(service, ["203.0.113.7"] * 3_000) == {401: N, 429: 3_000 - N}

    assert page(service, "203.0.113.7") == 429
    assert page(service, "198.51.100.1") == 200
    assert len(redis.keys("*logins*")) == 2
    assert redis.dbsize() <= 4  # and how far the search for others' tokens is


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
    assert redis.dbsize() <= 4  # and how far the search for others' tokens is


def test_right_passwords_between(service: Gunicorn) -> None:
    """However often the right password comes from the same address, sixty guesses are answered, no more."""
    typed = [*[basic("wrong")] * (N - 1), ("Authorization", BASIC)] * 10
    heard = Counter(page(service, "203.0.113.7", credential) for credential in typed)

    assert heard == {401: N, 200: 1, 429: len(typed) - N - 1}
    assert page(service, "198.51.100.1") == 200


@pytest.mark.parametrize(
    ("pattern", "most"),
    [("2001:db8:0:1{:02x}::1", 75), ("2001:db8:0:{:x}00::1", 90), ("203.0.113.{}", 90)],
)
def test_one_customer(service: Gunicorn, pattern: str, most: int) -> None:
    """Whoever holds a whole network shuts out nobody but that, however many of its addresses guess."""
    guesses = [pattern.format(number) for number in range(200)] * 3

    assert guess(service, guesses) == {401: most, 429: 600 - most}
    assert page(service, pattern.format(240)) == 429
    assert page(service, "198.51.100.1") == page(service, "2001:db8:1::1") == 200


@pytest.fixture(scope="module", name="brake")
def _brake(server: RedisServer) -> Iterator[Gunicorn]:
    """Run two workers that turn away a client after five bad tokens."""
    options = {"trusted_proxies": "private", "fail_limit_max": 5, "redis_deadline_ms": 5000}
    with Gunicorn(server.port, **options) as service:
        yield service


def ask(service: Gunicorn, client: str, text: str = "not-ours") -> Answer:
    """Ask /auth for *client*."""
    return service.auth(text, headers=[("X-Forwarded-For", client)])


def scripts_run(redis: Any) -> int:
    """Return how many scripts Redis has run."""
    stats = redis.info("commandstats")
    return sum(stats.get(f"cmdstat_{name}", {}).get("calls", 0) for name in ("eval", "evalsha"))


def test_bad_tokens(brake: Gunicorn, redis: Any) -> None:
    """Of a flood of bad tokens as many are told as may be; then good ones wait too, but not elsewhere."""
    token = brake.issue("a.test")
    flood = [*forwarded("a.test"), *bearer("not-ours"), ("X-Forwarded-For", "203.0.113.7")]
    told = hammer([brake.port], flood, clients=20, each=20)
    for worker in brake.workers:  # which of them had no part in it is the kernel's choice
        with brake.alone(worker):
            assert ask(brake, "203.0.113.7").status == 429
    before = scripts_run(redis)
    refused = [ask(brake, "203.0.113.7", text) for text in [token, "not-ours"] * 20]

    assert told == {401: 5, 429: 395}
    assert {(answer.status, answer.text) for answer in refused} == {(429, "rate limit exceeded")}
    assert 0 < int(refused[0].headers["retry-after"]) <= 60
    assert scripts_run(redis) == before
    assert (ask(brake, "198.51.100.1", token).status, ask(brake, "198.51.100.1").status) == (200, 401)


def test_bad_tokens_of_one_customer(brake: Gunicorn, redis: Any) -> None:
    """Whoever holds 65 536 networks hears of no more bad tokens than eight clients; good ones wait there."""
    token = brake.issue("a.test")
    clients = [f"2001:db8:0:{number * 251:x}::1" for number in range(200)]
    with ThreadPoolExecutor(10) as pool:
        told = Counter(pool.map(lambda client: ask(brake, client).status, clients))

    assert told == {401: 40, 429: 160}
    assert redis.dbsize() < 200
    assert ask(brake, "2001:db8:1::1", token).status == 200


def test_good_tokens_pay_nothing(brake: Gunicorn, redis: Any) -> None:
    """A good token costs the one round trip that it always does; what is no bad token is not counted."""
    token = brake.issue("a.test")
    assert ask(brake, "203.0.113.8", token).status == 200
    before = scripts_run(redis)
    others = [
        brake.auth(text, host, [("X-Forwarded-For", "203.0.113.8")]).status
        for text, host in [(token, "a.test")] * 10 + [(None, "a.test")] * 10 + [(token, "b.test")] * 10
    ]

    assert others == [200] * 10 + [401] * 10 + [403] * 10
    assert scripts_run(redis) == before + 20
    assert not redis.keys("{acl:failures}*")


def test_both_lanes_turn_away(brake: Gunicorn) -> None:
    """The express lane and Flask know of one another's refusals, and say them alike."""
    told = [ask(brake, "203.0.113.9").status for _ in range(12)]
    by_flask = [("X-Forwarded-For", "203.0.113.9"), ("X-Unusual", "x")]
    answers = [ask(brake, "203.0.113.9"), brake.auth("not-ours", headers=by_flask)]

    assert told == [401] * 5 + [429] * 7
    assert [answer.status for answer in answers] == [429, 429]
    assert [name for name, _ in answers[0].all] == [name for name, _ in answers[1].all]


def test_bad_tokens_behind_traefik(brake: Gunicorn, echo: Backend, redis: Any) -> None:
    """Traefik says who the client is, whatever the client says."""
    with Traefik(brake.port, echo.port) as traefik:
        redis.flushall()
        claims = [[("X-Forwarded-For", f"203.0.113.{number}")] for number in range(6)]
        codes = [traefik.call("not-ours", headers=claim).status for claim in claims]

    assert codes == [401] * 5 + [429]
    assert redis.keys("{acl:failures}:of:*") == ["{acl:failures}:of:127.0.0.1"]


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
