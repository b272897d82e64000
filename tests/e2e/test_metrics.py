"""The metrics of all workers, as scraped from any one of them."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack
from threading import Timer

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse

from app.store import keys
from devkit.http import Connection, bearer, forwarded
from devkit.load import hammer, send_each
from devkit.redis_server import RedisServer
from devkit.service import Gunicorn
from devkit.tally import NO_ANSWER, auth
from devkit.waiting import until

pytestmark = pytest.mark.e2e


def scraped(service: Gunicorn, name: str) -> float:
    """Return the sum of all samples with that name."""
    samples = (sample for family in parse(service.page("/metrics").text) for sample in family.samples)
    return sum(sample.value for sample in samples if sample.name == name)


def decided(service: Gunicorn) -> float:
    """Return the number of decisions in the metrics."""
    return scraped(service, "acl_auth_decisions_total")


@pytest.mark.parametrize("lane", ["true", "false"], ids=["express", "plain"])
def test_all_workers(redis_server: RedisServer, lane: str) -> None:
    """Every request is counted once, whichever worker answered it, also after that worker was replaced."""
    with Gunicorn(
        redis_server.port, web_concurrency=3, express_lane=lane, redis_deadline_ms=5000
    ) as gunicorn:
        headers = [*bearer(gunicorn.issue("a.test")), *forwarded("a.test")]
        sent = sum(hammer([gunicorn.port], headers, clients=20, each=20).values())
        assert {decided(gunicorn) for _ in range(10)} == {sent}

        old = {*gunicorn.workers}
        os.kill(min(old), signal.SIGKILL)
        gunicorn.signal(signal.SIGHUP)
        until(lambda: len(gunicorn.workers) == 3 and old.isdisjoint(gunicorn.workers))
        sent += sum(hammer([gunicorn.port], headers, clients=20, each=20).values())
        assert {decided(gunicorn) for _ in range(10)} == {sent}


def test_recycled_workers(redis_server: RedisServer) -> None:
    """Of 10 000 answers by workers that are recycled and reloaded meanwhile, exactly 10 000 are counted."""
    recycling = {"gunicorn_cmd_args": "--max-requests 700 --max-requests-jitter 300"}
    with Gunicorn(redis_server.port, web_concurrency=4, **recycling) as gunicorn:
        first = {*gunicorn.workers}
        request = auth("/auth", gunicorn.issue("a.test"))
        reload = Timer(0.5, gunicorn.signal, [signal.SIGHUP])
        reload.start()
        answered = 0
        while answered < 10_000:
            rows = [[request] * min(250, 10_000 - answered)] * min(40, (10_000 - answered) // 250 or 1)
            tally = send_each([gunicorn.port], rows)
            assert tally.statuses.keys() <= {200, NO_ANSWER}  # a worker closed the connection unread
            answered += tally.statuses[200]
        reload.join()

        assert decided(gunicorn) == scraped(gunicorn, "acl_auth_decision_seconds_count") == 10_000
        assert first.isdisjoint(gunicorn.workers)


def test_connections() -> None:
    """The gauges have the open connections of all workers and none of those that were killed or retired."""
    with RedisServer() as redis, Gunicorn(redis.port, web_concurrency=3) as gunicorn:
        control = redis.client()

        def is_right(clients: int) -> bool:
            held = scraped(gunicorn, "acl_auth_redis_connections")
            open_ones = sum(int(client["id"]) != control.client_id() for client in control.client_list())
            return (scraped(gunicorn, "acl_auth_client_connections"), held) == (clients, open_ones)

        hammer([gunicorn.port], [*bearer("x"), *forwarded("a.test")], clients=30, each=10)
        killed = gunicorn.workers[0]
        with ExitStack() as stack, gunicorn.alone(killed):
            for _ in range(7):
                stack.enter_context(Connection(gunicorn.port)).call("/livez")
            until(lambda: is_right(7))
            os.kill(killed, signal.SIGKILL)
            until(lambda: killed not in gunicorn.workers)
        until(lambda: is_right(0))
        gunicorn.signal(signal.SIGTTOU)
        until(lambda: len(gunicorn.workers) == 2)
        until(lambda: is_right(0))


def test_waiting() -> None:
    """While Redis does not answer, commands wait; when it answers again, none does."""
    with RedisServer() as redis, Gunicorn(redis.port, web_concurrency=2, redis_deadline_ms=300) as gunicorn:
        gunicorn.decided("x")
        redis.pause()
        gunicorn.auth("x")
        until(lambda: scraped(gunicorn, "acl_auth_redis_waiting") > 0)
        redis.resume()
        until(lambda: scraped(gunicorn, "acl_auth_redis_waiting") == 0)


def test_many_tokens() -> None:
    """A scrape of many tokens starts a census in the background, whose result every worker reports."""
    with RedisServer() as server, Gunicorn(server.port, web_concurrency=2) as gunicorn:
        pipe = server.client().pipeline(transaction=False)
        for number in range(1100):
            pipe.hset(keys.record(f"{number:064x}"), mapping={"hosts": "a.test", "enabled": number % 2})
        pipe.execute()
        gunicorn.page("/")  # indexes them
        until(lambda: tokens(gunicorn) == {"active": 550, "disabled": 550})

        server.client().delete(*(keys.record(f"{number:064x}") for number in range(100)))
        assert tokens(gunicorn) == {"active": 550, "disabled": 550}
        assert server.client().pttl(keys.CENSUS_LOCK) > 0


def tokens(service: Gunicorn) -> dict[str, float]:
    """Return the numbers of tokens by status, without zeros."""
    (gauge,) = (f for f in parse(service.page("/metrics").text) if f.name == "acl_auth_tokens")
    return {sample.labels["status"]: sample.value for sample in gauge.samples if sample.value}
