"""Stopping, reloading, recycling and crashing workers loses no request, and idle clients delay no stop."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from devkit.backend import Backend
from devkit.http import Connection, bearer, encoded
from devkit.load import ClosedLoop, is_late
from devkit.ports import listens, unread
from devkit.proc import awaits_signal, stop
from devkit.redis_server import RedisServer
from devkit.service import Gunicorn
from devkit.tally import auth, get
from devkit.traefik import Balancer
from devkit.waiting import at_best, seconds, until

pytestmark = pytest.mark.e2e

_HEAD = b"GET /auth HTTP/1.1\r\nHost: x\r\nX-Forwarded-Host: a.test\r\n\r\n"


@pytest.fixture(name="options", params=["true", "false"], ids=["express", "plain"])
def _options(request: pytest.FixtureRequest) -> dict[str, object]:
    """Return the settings of a service with two workers, with and without the express lane."""
    # These tests do not measure decision time, so the deadline allows for a busy machine.
    common = {"web_concurrency": 2, "rate_limit_max": 0, "redis_deadline_ms": 10_000}
    return common | {"express_lane": request.param}


@pytest.fixture(name="gunicorn")
def _gunicorn(redis_server: RedisServer, options: dict[str, object]) -> Iterator[Gunicorn]:
    with Gunicorn(redis_server.port, **options) as service:
        yield service


def test_reload(gunicorn: Gunicorn, token: str) -> None:
    """New workers take the place of old ones five times, and every request is allowed."""
    with ClosedLoop(gunicorn.port, auth("/auth", token)) as load:
        for times in range(1, 6):
            gunicorn.signal(signal.SIGHUP)
            load.wait_for(100)
            until(lambda times=times: gunicorn.log.count("Worker exiting") == 2 * times)  # type: ignore[misc]

    assert load.tally.lost == {}


_SLOW_START = """
from gevent import monkey
def post_fork(_, worker):
    if worker.age > 1:
        monkey.get_original("time", "sleep")(1)
"""


def test_slow_start(redis_server: RedisServer, options: dict[str, object]) -> None:
    """After a reload, nobody waits until a new worker has started: the old one accepts connections."""
    service = Gunicorn(redis_server.port, **(options | {"web_concurrency": 1}))
    service.add_hooks(_SLOW_START)

    def longest_s() -> float:
        ended, waits_s = service.log.count("Worker exiting"), [0.0]
        service.signal(signal.SIGHUP)
        while service.log.count("Worker exiting") == ended:
            waits_s.append(seconds(service.auth))
        return max(*waits_s, seconds(service.auth))

    with service:
        at_best(longest_s, 0.5)


def test_recycling(redis_server: RedisServer, options: dict[str, object], token: str) -> None:
    """Workers that are recycled every 200 requests or so lose no request."""
    recycling = {"gunicorn_cmd_args": "--max-requests 200 --max-requests-jitter 50"}
    with (
        Gunicorn(redis_server.port, **(options | recycling)) as gunicorn,
        ClosedLoop(gunicorn.port, auth("/auth", token)) as load,
    ):
        load.wait_for(1500)
        until(lambda: gunicorn.log.count("Autorestarting worker") >= 5)

    assert load.tally.lost == {}


def test_idle_connections(gunicorn: Gunicorn) -> None:
    """Idle connections, used or new, and half-sent heads do not delay a stop."""
    exit_codes: list[int] = []

    def last_s() -> float:
        if exit_codes:
            gunicorn.start()
        with ExitStack() as stack:
            connections = [stack.enter_context(Connection(gunicorn.port)) for _ in range(60)]
            for connection in connections[:40]:
                assert connection.call("/auth").status == 401
            for connection in connections[20:40]:
                connection.send(_HEAD[:40])
            stopped_s = seconds(lambda: exit_codes.append(gunicorn.stop()))
            assert all(connection.is_closed() for connection in connections)
        return stopped_s

    at_best(last_s, 4, tries=10)  # 0.9 on a quiet machine
    assert set(exit_codes) == {0}


def _gets_connection_close(gunicorn: Gunicorn) -> bool:
    """Stop the service and send requests until one closes the connection; return False if too slow."""
    with Connection(gunicorn.port) as connection:
        began = time.monotonic()
        fate = connection.call("/auth").headers["connection"]
        assert fate == "keep-alive"
        gunicorn.signal(signal.SIGTERM)
        while fate != "close":
            previous, began = began, time.monotonic()
            sent = began
            try:
                connection.send(encoded("/auth"))
                sent = time.monotonic()
                fate = connection.read().headers["connection"]
            except ConnectionError:
                if is_late(sent, previous):
                    return False
                raise
        assert connection.is_closed()
    return True


def test_stop_closes_busy_connections(gunicorn: Gunicorn) -> None:
    """During a stop, a client that keeps sending requests is answered and told to close the connection."""
    while not _gets_connection_close(gunicorn):
        assert gunicorn.wait() == 0
        gunicorn.start()
    assert gunicorn.wait() == 0


def test_backlog_is_served(gunicorn: Gunicorn) -> None:
    """A stop still serves connections waiting in the backlog and requests not yet read."""
    workers = gunicorn.workers
    with ExitStack() as stack:
        known = [stack.enter_context(Connection(gunicorn.port)) for _ in range(10)]
        assert {connection.call("/auth").status for connection in known} == {401}
        stop(workers)
        connections = known + [stack.enter_context(Connection(gunicorn.port)) for _ in range(30)]
        for connection in connections:
            connection.send(_HEAD)
        gunicorn.signal(signal.SIGTERM)
        until(lambda: all(awaits_signal(pid, signal.SIGTERM) for pid in workers))
        for pid in workers:
            os.kill(pid, signal.SIGCONT)

        assert [connection.read().status for connection in connections] == [401] * 40
    assert gunicorn.wait() == 0


@contextmanager
def _unanswered(gunicorn: Gunicorn, redis: RedisServer, token: str) -> Iterator[list[Connection]]:
    """Send requests on twenty connections while Redis is silent, until every worker has read its share."""
    request = auth("/auth", token).data
    with ExitStack() as stack:
        connections = [stack.enter_context(Connection(gunicorn.port)) for _ in range(20)]
        for connection in connections:  # their workers connect to Redis, which must not take its time later
            connection.send(request)
            assert connection.read().status == 200
        redis.pause()
        try:
            for connection in connections:
                connection.send(request)
            until(lambda: not unread(gunicorn.port))
            yield connections
        finally:
            redis.resume()


def test_in_flight(gunicorn: Gunicorn, redis_server: RedisServer, token: str) -> None:
    """A stop waits for decisions that Redis has yet to answer."""
    with _unanswered(gunicorn, redis_server, token) as connections:
        gunicorn.signal(signal.SIGTERM)
        until(lambda: not listens(gunicorn.port))  # until no worker accepts connections
        time.sleep(0.6)  # until no worker waits for further requests on open connections
        redis_server.resume()
        responses = [connection.read() for connection in connections]

    assert {(answer.status, answer.headers["connection"]) for answer in responses} == {(200, "close")}
    assert gunicorn.wait() == 0


@pytest.mark.parametrize(
    "numbers", [[signal.SIGINT], [signal.SIGTERM, signal.SIGINT]], ids=["quick", "impatient"]
)
def test_quick_stop(numbers: list[int], gunicorn: Gunicorn, redis_server: RedisServer, token: str) -> None:
    """SIGINT ends the service without errors or waiting for responses, in the middle of a stop too."""
    with _unanswered(gunicorn, redis_server, token) as connections:
        for number in numbers:
            gunicorn.signal(number)
        assert gunicorn.wait() == 0
        assert all(connection.is_closed() for connection in connections)
    assert "Traceback" not in gunicorn.log


def test_redis_hung(redis_server: RedisServer, options: dict[str, object], token: str) -> None:
    """With Redis hung, waiting clients get a 503 and a stop takes less than eight seconds."""

    def last_s() -> float:
        with (
            Gunicorn(redis_server.port, **(options | {"redis_deadline_ms": 1000})) as gunicorn,
            _unanswered(gunicorn, redis_server, token) as connections,
        ):
            stopped_s = seconds(lambda: exit_codes.append(gunicorn.stop()))
            assert {connection.read().status for connection in connections} == {503}
        return stopped_s

    exit_codes: list[int] = []
    at_best(last_s, 8, tries=5)
    assert set(exit_codes) == {0}


def test_crash_of_a_worker(gunicorn: Gunicorn, token: str) -> None:
    """A kill -9 of one worker loses only the requests that it was answering."""
    with ClosedLoop(gunicorn.port, auth("/auth", token), clients=8) as load:
        load.wait_for(200)
        os.kill(gunicorn.workers[0], signal.SIGKILL)
        load.wait_for(400)
        until(lambda: gunicorn.log.count("Booting worker") == 3)

    assert sum(load.tally.lost.values()) <= 8
    assert set(load.tally.lost) <= {"ConnectionError", "ConnectionResetError"}


def test_access_log(redis_server: RedisServer, options: dict[str, object], token: str) -> None:
    """The access log contains every request, including those of the express lane."""
    with Gunicorn(redis_server.port, **(options | {"gunicorn_cmd_args": "--access-logfile -"})) as gunicorn:
        assert [gunicorn.auth(token).status for _ in range(5)] == [200] * 5
        assert gunicorn.stop() == 0

        assert len(re.findall(r'"GET /auth HTTP/1.1" 200', gunicorn.log)) == 5


@pytest.fixture(name="replicas")
def _replicas(redis_server: RedisServer) -> Iterator[list[Gunicorn]]:
    """Return two one-worker services that can be told apart by their realms."""
    common: dict[str, Any] = {"web_concurrency": 1, "rate_limit_max": 0, "redis_deadline_ms": 5000}
    with (
        Gunicorn(redis_server.port, **common, auth_realm="one") as one,
        Gunicorn(redis_server.port, **common, auth_realm="two") as two,
    ):
        yield [one, two]


def test_rolling_restart(replicas: list[Gunicorn], echo: Backend, token: str) -> None:
    """Replicas that leave the load balancer's pool before they stop are replaced without losing requests."""
    ports = [replica.port for replica in replicas]
    with (
        Balancer(ports, echo.port) as traefik,
        ClosedLoop(traefik.port, get("/", "/", [("Host", "a.test"), *bearer(token)])) as load,
    ):
        for replica, remaining in (replicas, reversed(replicas)):
            traefik.spread([remaining.port])
            until(lambda: traefik.replicas() == 1)
            assert replica.stop() == 0
            replica.start()
            traefik.spread(ports)
            until(lambda: traefik.replicas() == 2)
        load.wait_for(100)

    assert load.tally.lost == {}
    assert load.tally.statuses[200] > 100
