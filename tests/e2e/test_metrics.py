"""The metrics of all workers, as scraped from any one of them."""

from __future__ import annotations

import os
import signal

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse

from app.store import keys
from devkit.http import bearer, forwarded
from devkit.load import hammer
from devkit.redis_server import RedisServer
from devkit.service import Gunicorn
from devkit.waiting import until

pytestmark = pytest.mark.e2e


def decided(service: Gunicorn) -> float:
    """Return the number of decisions in the metrics."""
    (decisions,) = (f for f in parse(service.page("/metrics").text) if f.name == "acl_auth_decisions")
    return sum(sample.value for sample in decisions.samples)


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
