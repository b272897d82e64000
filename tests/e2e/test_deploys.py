"""Stops, reloads, recycling and crashes of workers lose no request, and a stop does not wait for idlers."""

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
    """Return the settings of a service with two workers, with the express lane and without."""
    # Time is not the matter here: on a busy machine a decision may take longer than usual.
    common = {"web_concurrency": 2, "rate_limit_max": 0, "redis_deadline_ms": 5000}
    return common | {"express_lane": request.param}


@pytest.fixture(name="own")
def _own(redis_server: RedisServer, options: dict[str, object]) -> Iterator[Gunicorn]:
    with Gunicorn(redis_server.port, **options) as service:
        yield service


def test_reload(own: Gunicorn, token: str) -> None:
    """New workers take the place of old ones five times, and every request is allowed."""
    with ClosedLoop(own.port, auth("/auth", token)) as load:
        for times in range(1, 6):
            own.signal(signal.SIGHUP)
            load.wait_for(100)
            until(lambda times=times: own.log.count("Worker exiting") == 2 * times)  # type: ignore[misc]

    assert load.tally.lost == {}


def test_recycling(redis_server: RedisServer, options: dict[str, object], token: str) -> None:
    """Workers that end after 200 requests or so, all the time, lose none."""
    recycling = {"gunicorn_cmd_args": "--max-requests 200 --max-requests-jitter 50"}
    with (
        Gunicorn(redis_server.port, **(options | recycling)) as own,
        ClosedLoop(own.port, auth("/auth", token)) as load,
    ):
        load.wait_for(1500)
        until(lambda: own.log.count("Autorestarting worker") >= 5)

    assert load.tally.lost == {}


def test_idle_connections(own: Gunicorn) -> None:
    """A stop waits neither for connections that are silent, used or new, nor for half a head."""
    ends: list[int] = []

    def last_s() -> float:
        if ends:
            own.start()
        with ExitStack() as stack:
            connections = [stack.enter_context(Connection(own.port)) for _ in range(60)]
            for connection in connections[:40]:
                assert connection.call("/auth").status == 401
            for connection in connections[20:40]:
                connection.send(_HEAD[:40])
            stopped_s = seconds(lambda: ends.append(own.stop()))
            assert all(connection.is_closed() for connection in connections)
        return stopped_s

    at_best(last_s, 4, tries=10)  # 0.9 on a quiet machine
    assert set(ends) == {0}


def _hears_the_last_call(own: Gunicorn) -> bool:
    """Stop *own* and go on asking until it says that this was the last time; False if we were too slow."""
    with Connection(own.port) as connection:
        began = time.monotonic()
        fate = connection.call("/auth").headers["connection"]
        assert fate == "keep-alive"
        own.signal(signal.SIGTERM)
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


def test_last_call(own: Gunicorn) -> None:
    """Who goes on asking during a stop is answered, and told that it was the last time."""
    while not _hears_the_last_call(own):
        assert own.wait() == 0
        own.start()
    assert own.wait() == 0


def test_queue(own: Gunicorn) -> None:
    """A connection that nobody has accepted yet is served, as is a request that nobody has read."""
    workers = own.workers
    with ExitStack() as stack:
        known = [stack.enter_context(Connection(own.port)) for _ in range(10)]
        assert {connection.call("/auth").status for connection in known} == {401}
        stop(workers)
        connections = known + [stack.enter_context(Connection(own.port)) for _ in range(30)]
        for connection in connections:
            connection.send(_HEAD)
        own.signal(signal.SIGTERM)
        until(lambda: all(awaits_signal(pid, signal.SIGTERM) for pid in workers))
        for pid in workers:
            os.kill(pid, signal.SIGCONT)

        assert [connection.read().status for connection in connections] == [401] * 40
    assert own.wait() == 0


@contextmanager
def _unanswered(own: Gunicorn, redis: RedisServer, token: str) -> Iterator[list[Connection]]:
    """Ask on twenty connections while Redis says nothing; every worker has read its share."""
    redis.pause()
    try:
        with ExitStack() as stack:
            connections = [stack.enter_context(Connection(own.port)) for _ in range(20)]
            for connection in connections:
                connection.send(auth("/auth", token).data)
            until(lambda: not unread(own.port))
            yield connections
    finally:
        redis.resume()


def test_in_flight(own: Gunicorn, redis_server: RedisServer, token: str) -> None:
    """A stop waits for what Redis has yet to answer."""
    with _unanswered(own, redis_server, token) as connections:
        own.signal(signal.SIGTERM)
        until(lambda: not listens(own.port))  # no worker takes in any more
        time.sleep(0.6)  # nor does any wait for the last call
        redis_server.resume()
        said = [connection.read() for connection in connections]

    assert {(answer.status, answer.headers["connection"]) for answer in said} == {(200, "close")}
    assert own.wait() == 0


def test_redis_hung(redis_server: RedisServer, options: dict[str, object], token: str) -> None:
    """A hung Redis keeps nobody: its callers are told, and the stop takes no eight seconds."""

    def last_s() -> float:
        with (
            Gunicorn(redis_server.port, **(options | {"redis_deadline_ms": 1000})) as own,
            _unanswered(own, redis_server, token) as connections,
        ):
            stopped_s = seconds(lambda: ends.append(own.stop()))
            assert {connection.read().status for connection in connections} == {503}
        return stopped_s

    ends: list[int] = []
    at_best(last_s, 8, tries=5)
    assert set(ends) == {0}


def test_crash_of_a_worker(own: Gunicorn, token: str) -> None:
    """The kill -9 of one worker loses what it was answering, and no more."""
    with ClosedLoop(own.port, auth("/auth", token), clients=8) as load:
        load.wait_for(200)
        os.kill(own.workers[0], signal.SIGKILL)
        load.wait_for(400)
        until(lambda: own.log.count("Booting worker") == 3)

    assert sum(load.tally.lost.values()) <= 8
    assert set(load.tally.lost) <= {"ConnectionError", "ConnectionResetError"}


def test_access_log(redis_server: RedisServer, options: dict[str, object], token: str) -> None:
    """An access log that is switched on has every request, those of the express lane too."""
    with Gunicorn(redis_server.port, **(options | {"gunicorn_cmd_args": "--access-logfile -"})) as own:
        assert [own.auth(token).status for _ in range(5)] == [200] * 5
        assert own.stop() == 0

        assert len(re.findall(r'"GET /auth HTTP/1.1" 200', own.log)) == 5


@pytest.fixture(name="replicas")
def _replicas(redis_server: RedisServer) -> Iterator[list[Gunicorn]]:
    """Return two services of one worker each that name themselves in their challenges."""
    common: dict[str, Any] = {"web_concurrency": 1, "rate_limit_max": 0, "redis_deadline_ms": 5000}
    with (
        Gunicorn(redis_server.port, **common, auth_realm="one") as one,
        Gunicorn(redis_server.port, **common, auth_realm="two") as two,
    ):
        yield [one, two]


def test_rolling_restart(replicas: list[Gunicorn], echo: Backend, token: str) -> None:
    """Replicas that leave the balancer's pool before they stop are replaced without a loss."""
    ports = [replica.port for replica in replicas]
    with (
        Balancer(ports, echo.port) as traefik,
        ClosedLoop(traefik.port, get("/", "/", [("Host", "a.test"), *bearer(token)])) as load,
    ):
        for replica, other in (replicas, reversed(replicas)):
            traefik.spread([other.port])
            until(lambda: traefik.replicas() == 1)
            assert replica.stop() == 0
            replica.start()
            traefik.spread(ports)
            until(lambda: traefik.replicas() == 2)
        load.wait_for(100)

    assert load.tally.lost == {}
    assert load.tally.statuses[200] > 100
