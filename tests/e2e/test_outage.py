"""When Redis is down, hung or refusing writes, the service answers 503 promptly and recovers by itself."""

from __future__ import annotations

import socketserver
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest

from devkit.backend import Backend
from devkit.http import Answer
from devkit.redis_server import RedisServer
from devkit.server import Server
from devkit.service import Gunicorn, record_key
from devkit.traefik import Traefik
from devkit.waiting import at_best, seconds, until

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module", name="server")
def _server() -> Iterator[RedisServer]:
    with RedisServer(aof=True) as server:
        yield server


@pytest.fixture(scope="module", name="service")
def _service(server: RedisServer) -> Iterator[Gunicorn]:
    with Gunicorn(server.port, web_concurrency=2, redis_deadline_ms=250) as service:
        yield service


@pytest.fixture(scope="module", name="traefik")
def _traefik(service: Gunicorn, echo: Backend) -> Iterator[Traefik]:
    with Traefik(service.port, echo.port) as traefik:
        yield traefik


@pytest.fixture(scope="module", name="valid")
def _valid(server: RedisServer, service: Gunicorn) -> str:
    token = service.issue("a.test")
    server.flush()
    return token


@pytest.fixture(name="redis_down")
def _redis_down(server: RedisServer, service: Gunicorn, valid: str) -> Iterator[None]:
    server.kill()
    yield
    server.start()
    _until_allowed(service, valid)


@pytest.fixture(name="redis_hung")
def _redis_hung(server: RedisServer, service: Gunicorn, valid: str) -> Iterator[None]:
    server.pause()
    yield
    server.resume()
    _until_allowed(service, valid)


def _until_allowed(service: Gunicorn, token: str) -> float:
    return until(lambda: service.auth(token).status == 200)


def _timed(ask: Callable[[], Answer], status: int) -> Callable[[], float]:
    """Return a function that measures *ask* in seconds and asserts that its answer has *status*."""

    def expect() -> None:
        assert ask().status == status

    return lambda: seconds(expect)


@pytest.mark.usefixtures("redis_down")
class TestDown:
    """Nothing listens on the Redis port."""

    def test_auth(self, service: Gunicorn, valid: str) -> None:
        """The answer is a 503 with Retry-After within 50 ms."""
        answer = service.auth(valid)
        assert (answer.status, answer.text) == (503, "redis unavailable")
        assert (answer.headers["retry-after"], answer.headers["cache-control"]) == ("1", "no-store")
        at_best(_timed(lambda: service.auth(valid), 503), 0.05)

    def test_backend(self, traefik: Traefik, backend: Backend, valid: str) -> None:
        """The client gets the 503, and the backend gets no request."""
        answer = traefik.call(valid)
        assert (answer.status, answer.headers["retry-after"], backend.hits) == (503, "1", 0)

    def test_probes(self, service: Gunicorn) -> None:
        """/livez succeeds and /healthz fails."""
        assert service.page("/livez").status == 200
        assert (service.page("/healthz").status, service.page("/healthz").text) == (503, "redis unavailable")

    def test_refused_without_redis(self, service: Gunicorn, valid: str) -> None:
        """Requests that are refused without a lookup get the same answer as always."""
        assert service.auth().status == 401
        assert service.auth("two words").status == 401
        assert service.auth(valid[:-1] + chr(ord(valid[-1]) ^ 1)).status == 401

    def test_pages(self, service: Gunicorn) -> None:
        """Pages and forms answer 503."""
        assert service.page("/").status == 503
        assert service.post("/create_token", hosts="a.test").status == 503
        assert service.post("/delete_token", token="0" * 64).status == 503


@pytest.mark.usefixtures("redis_hung")
class TestHung:
    """Redis accepts connections and does not answer."""

    def test_auth(self, service: Gunicorn, valid: str) -> None:
        """The deadline bounds a decision: the 503 arrives within 300 ms."""
        at_best(_timed(lambda: service.auth(valid), 503), 0.3)

    def test_concurrent_requests(self, service: Gunicorn, valid: str) -> None:
        """A hundred concurrent requests wait no longer than one; they do not queue behind one another."""
        ask = _timed(lambda: service.auth(valid), 503)

        def slowest_s() -> float:
            with ThreadPoolExecutor(100) as pool:
                return max(pool.map(lambda _: ask(), range(100)))

        at_best(slowest_s, 1)

    def test_backend(self, traefik: Traefik, backend: Backend, valid: str) -> None:
        """The client gets the 503, and the backend gets no request."""
        assert (traefik.call(valid).status, backend.hits) == (503, 0)

    def test_probes(self, service: Gunicorn) -> None:
        """/livez succeeds and /healthz fails, both promptly."""
        at_best(_timed(lambda: service.page("/livez"), 200), 0.05)
        at_best(_timed(lambda: service.page("/healthz"), 503), 0.3)


def test_recovery_from_crash(server: RedisServer, service: Gunicorn, valid: str) -> None:
    """After a Redis crash, the same workers allow requests within a second of its restart."""

    def recovery_s() -> float:
        server.kill()
        assert service.auth(valid).status == 503
        server.start()
        return _until_allowed(service, valid)

    at_best(recovery_s, 1)
    assert service.log.count("Booting worker") == 2


def test_recovery_from_hang(server: RedisServer, service: Gunicorn, valid: str) -> None:
    """After a Redis hang, workers recover within a second, and late replies reach no other request."""
    forbidden = service.issue("b.test")

    def recovery_s() -> float:
        server.pause()
        assert [service.auth(valid).status for _ in range(4)] == [503] * 4
        server.resume()
        return _until_allowed(service, valid)

    at_best(recovery_s, 1)
    observed: set[tuple[int, int]] = set()

    def is_over() -> bool:  # in both workers; a worker does not reconnect immediately after a failure
        statuses = {(service.auth(valid).status, service.auth(forbidden).status) for _ in range(20)}
        observed.update(statuses)
        return statuses == {(200, 403)}

    until(is_over)
    assert observed <= {(200, 403), (200, 503), (503, 403), (503, 503)}


@pytest.mark.parametrize(
    ("bad", "good"),
    [
        ("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0"),
        ("CONFIG SET min-replicas-to-write 1", "CONFIG SET min-replicas-to-write 0"),
        ("ACL SETUSER default -evalsha", "ACL SETUSER default +evalsha"),
        ("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE"),
    ],
    ids=["full", "no-replicas", "no-permission", "replica"],
)
def test_redis_refuses(server: RedisServer, service: Gunicorn, valid: str, bad: str, good: str) -> None:
    """While Redis refuses writes every request is a 503; the service recovers once writes are allowed."""
    redis: Any = server.client()

    def recovery_s() -> float:
        redis.execute_command(*bad.split())
        try:
            assert service.auth(valid).status == 503
        finally:
            redis.execute_command(*good.split())
        return _until_allowed(service, valid)

    at_best(recovery_s, 1)


def test_broken_record(server: RedisServer, service: Gunicorn, valid: str) -> None:
    """An unreadable record makes its own token fail and no other."""
    server.client().set(record_key("wrong-type"), "no hash")
    server.client().hset(record_key("bad-limit"), mapping={"hosts": "a.test", "rate_limit_max": "nan"})

    assert service.auth("wrong-type").status == 503
    assert service.auth("bad-limit").status == 503
    assert service.decided(valid) == 200


def test_broken_record_amid_others(server: RedisServer) -> None:
    """Many requests for unreadable records do not affect other tokens on the same Redis connection."""
    redis = server.client()
    redis.sadd(record_key("a-set"), "no hash")
    redis.hset(record_key("circle"), "moved_to", record_key("circle").removeprefix("tokens:"))

    with Gunicorn(server.port, redis_deadline_ms=10_000) as service:
        valid = service.issue()
        secrets = ["a-set", valid, "circle", valid] * 100
        with ThreadPoolExecutor(8) as pool:
            warm = list(pool.map(lambda secret: service.auth(secret).status, secrets))
            before = redis.info("stats")["total_connections_received"]
            statuses = list(pool.map(lambda secret: service.auth(secret).status, secrets))

    assert warm == statuses == [503, 200, 503, 200] * 100
    assert redis.info("stats")["total_connections_received"] - before < 50


class _Drip(socketserver.StreamRequestHandler):
    """A Redis whose reply never ends, sent one byte at a time."""

    def handle(self) -> None:
        with suppress(OSError):
            self.wfile.write(b"$100\r\n")
            while True:
                self.wfile.write(b"x")
                time.sleep(0.1)


@pytest.fixture(name="dripping_port")
def _dripping_port() -> Iterator[int]:
    with Server(_Drip) as server:
        yield server.port


def test_dripping_redis(dripping_port: int) -> None:
    """The deadline covers the whole decision, not each read."""
    with Gunicorn(dripping_port, web_concurrency=1, redis_deadline_ms=250) as service:
        at_best(_timed(lambda: service.auth("any"), 503), 0.3)
