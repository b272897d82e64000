"""Clients that guess passwords or tokens over real sockets, with and without Traefik in front."""

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
    """Run a separate Redis, because the guesses would lock out other tests on a shared one."""
    with RedisServer() as server:
        yield server


@pytest.fixture(name="redis", autouse=True)
def _redis(server: RedisServer) -> Any:
    server.client().flushall()
    return server.client()


@pytest.fixture(scope="module", name="service")
def _service(server: RedisServer) -> Iterator[Gunicorn]:
    """Run two workers that trust X-Forwarded-For from this machine."""
    options = {"trusted_proxies": "private", "web_concurrency": 2, "redis_deadline_ms": 5000}
    with Gunicorn(server.port, **options) as service:
        yield service


def basic(password: str) -> tuple[str, str]:
    """Return an Authorization header with *password*."""
    return "Authorization", "Basic " + b64encode(f"operator:{password}".encode()).decode()


def page(service: Gunicorn, client: str, credential: tuple[str, str] = ("Authorization", BASIC)) -> int:
    """Request the first admin page as *client*, and return its status."""
    with Connection(service.port) as connection:
        return connection.call("/", [credential, ("X-Forwarded-For", client)]).status


def guess(service: Gunicorn, clients: list[str], connections: int = 20) -> Counter[int]:
    """Send a wrong password for each of *clients*, over several connections at once."""
    guesses = [
        get("a guess", "/", [basic(f"{number}"), ("X-Forwarded-For", client)], 401)
        for number, client in enumerate(clients)
    ]
    return answered(send_each([service.port], [guesses[first::connections] for first in range(connections)]))


def refused(redis: Any) -> int:
    """Return how many clients and networks have reached a limit; the audit log has each of them once."""
    number = len(redis.keys("*noted*"))
    assert redis.xlen("acl:audit") == number <= 3
    return number


def test_thousands_of_guesses(service: Gunicorn, redis: Any) -> None:
    """Most of thousands of guesses get a 429; operators elsewhere and Redis are unaffected."""
    assert guess(service, ["203.0.113.7"] * 3_000) == {401: N, 429: 3_000 - N}

    assert page(service, "203.0.113.7") == 429
    assert page(service, "198.51.100.1") == 200
    assert len(redis.keys("*logins*")) == 2 + refused(redis)
    assert redis.dbsize() <= 8  # plus the progress of the search for records of older deployments


def test_many_guessers(service: Gunicorn, redis: Any) -> None:
    """A thousand guessing addresses share one limit, and an operator who signed in before still can."""
    assert page(service, "198.51.100.1") == 200
    assert guess(service, [f"10.1.{n // 250}.{n % 250}" for n in range(1_000)]) == {
        401: ALL,
        429: 1_000 - ALL,
    }

    assert page(service, "198.51.100.1") == 200
    assert page(service, "198.51.100.2") == 429
    assert len(redis.keys("*logins*")) == 2 + refused(redis)
    assert redis.dbsize() <= 8  # plus the progress of the search for records of older deployments


def test_right_passwords_do_not_extend_the_limit(service: Gunicorn) -> None:
    """Correct passwords from the guessing address do not extend its limit of 60 guesses."""
    typed = [*[basic("wrong")] * (N - 1), ("Authorization", BASIC)] * 10
    statuses = Counter(page(service, "203.0.113.7", credential) for credential in typed)

    assert statuses == {401: N, 200: 1, 429: len(typed) - N - 1}
    assert page(service, "198.51.100.1") == 200


@pytest.mark.parametrize(
    ("pattern", "most"),
    [("2001:db8:0:1{:02x}::1", 75), ("2001:db8:0:{:x}00::1", 90), ("203.0.113.{}", 90)],
)
def test_guesses_from_one_network(service: Gunicorn, pattern: str, most: int) -> None:
    """Guessing from many addresses of one network locks out that network and no other."""
    guesses = [pattern.format(number) for number in range(200)] * 3

    assert guess(service, guesses) == {401: most, 429: 600 - most}
    assert page(service, pattern.format(240)) == 429
    assert page(service, "198.51.100.1") == page(service, "2001:db8:1::1") == 200


@pytest.fixture(scope="module", name="limited")
def _limited(server: RedisServer) -> Iterator[Gunicorn]:
    """Run two workers that refuse a client after five bad tokens."""
    options = {"trusted_proxies": "private", "fail_limit_max": 5, "redis_deadline_ms": 5000}
    with Gunicorn(server.port, **options) as service:
        yield service


def ask(service: Gunicorn, client: str, credential: str = "not-ours") -> Answer:
    """Request /auth as *client*."""
    return service.auth(credential, headers=[("X-Forwarded-For", client)])


def scripts_run(redis: Any) -> int:
    """Return the number of scripts that Redis has run."""
    stats = redis.info("commandstats")
    return sum(stats.get(f"cmdstat_{name}", {}).get("calls", 0) for name in ("eval", "evalsha"))


def test_bad_tokens(limited: Gunicorn, redis: Any) -> None:
    """After the allowed number of bad tokens, a client gets 429 even with good ones; others do not."""
    token = limited.issue("a.test")
    flood = [*forwarded("a.test"), *bearer("not-ours"), ("X-Forwarded-For", "203.0.113.7")]
    statuses = hammer([limited.port], flood, clients=20, each=20)
    for worker in limited.workers:  # the kernel chooses which workers accepted connections of the burst
        with limited.alone(worker):
            assert ask(limited, "203.0.113.7").status == 429
    before = scripts_run(redis)
    refused = [ask(limited, "203.0.113.7", secret) for secret in [token, "not-ours"] * 20]

    assert statuses == {401: 5, 429: 395}
    assert {(answer.status, answer.text) for answer in refused} == {(429, "rate limit exceeded")}
    assert 0 < int(refused[0].headers["retry-after"]) <= 60
    assert scripts_run(redis) == before
    assert (ask(limited, "198.51.100.1", token).status, ask(limited, "198.51.100.1").status) == (200, 401)


def test_bad_tokens_from_one_network(limited: Gunicorn, redis: Any) -> None:
    """The owner of 65 536 networks gets as many 401s as eight clients, and other networks are unaffected."""
    token = limited.issue("a.test")
    clients = [f"2001:db8:0:{number * 251:x}::1" for number in range(200)]
    with ThreadPoolExecutor(10) as pool:
        statuses = Counter(pool.map(lambda client: ask(limited, client).status, clients))

    assert statuses == {401: 40, 429: 160}
    assert redis.dbsize() < 200
    assert ask(limited, "2001:db8:1::1", token).status == 200


def test_good_tokens_cost_one_round_trip(limited: Gunicorn, redis: Any) -> None:
    """A good token costs one round trip as always, and a missing or misplaced credential is not counted."""
    token = limited.issue("a.test")
    assert ask(limited, "203.0.113.8", token).status == 200
    before = scripts_run(redis)
    others = [
        limited.auth(secret, host, [("X-Forwarded-For", "203.0.113.8")]).status
        for secret, host in [(token, "a.test")] * 10 + [(None, "a.test")] * 10 + [(token, "b.test")] * 10
    ]

    assert others == [200] * 10 + [401] * 10 + [403] * 10
    assert scripts_run(redis) == before + 20
    assert not redis.keys("{acl:failures}*")


def test_both_lanes_refuse(limited: Gunicorn) -> None:
    """The express lane and Flask share their refusals, and answer them alike."""
    statuses = [ask(limited, "203.0.113.9").status for _ in range(12)]
    by_flask = [("X-Forwarded-For", "203.0.113.9"), ("X-Unusual", "x")]
    answers = [ask(limited, "203.0.113.9"), limited.auth("not-ours", headers=by_flask)]

    assert statuses == [401] * 5 + [429] * 7
    assert [answer.status for answer in answers] == [429, 429]
    assert [name for name, _ in answers[0].all] == [name for name, _ in answers[1].all]


def test_bad_tokens_behind_traefik(limited: Gunicorn, echo: Backend, redis: Any) -> None:
    """Traefik determines the client's address, regardless of the X-Forwarded-For that the client sends."""
    with Traefik(limited.port, echo.port) as traefik:
        redis.flushall()
        claims = [[("X-Forwarded-For", f"203.0.113.{number}")] for number in range(6)]
        codes = [traefik.call("not-ours", headers=claim).status for claim in claims]

    assert codes == [401] * 5 + [429]
    assert redis.keys("{acl:failures}:of:*") == ["{acl:failures}:of:127.0.0.1"]


def test_forged_address(service: Gunicorn, echo: Backend) -> None:
    """Behind Traefik a client can neither pose as another address nor lock it out."""
    with Traefik(service.port, echo.port) as traefik:
        codes = [
            traefik.call(
                host="admin.test", headers=[basic("wrong"), ("X-Forwarded-For", f"203.0.113.{n}")]
            ).status
            for n in range(N + 1)
        ]

    assert codes == [401] * N + [429]
    assert page(service, "203.0.113.1") == 200
