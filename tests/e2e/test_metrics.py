"""Numbers of all workers, from whichever is asked."""

from __future__ import annotations

import os
import signal

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse

from devkit.http import bearer, forwarded
from devkit.load import hammer
from devkit.redis_server import RedisServer
from devkit.service import Gunicorn
from devkit.waiting import until

pytestmark = pytest.mark.e2e


def decided(service: Gunicorn) -> float:
    """Return how many decisions were made."""
    (decisions,) = (f for f in parse(service.page("/metrics").text) if f.name == "acl_auth_decisions")
    return sum(sample.value for sample in decisions.samples)


@pytest.mark.parametrize("lane", ["true", "false"], ids=["express", "plain"])
def test_all_workers(redis_server: RedisServer, lane: str) -> None:
    """Each request counts once, whoever answered it, and still does when its worker is killed or replaced."""
    with Gunicorn(redis_server.port, web_concurrency=3, express_lane=lane, redis_deadline_ms=5000) as own:
        headers = [*bearer(own.issue("a.test")), *forwarded("a.test")]
        sent = sum(hammer([own.port], headers, clients=20, each=20).values())
        assert {decided(own) for _ in range(10)} == {sent}

        old = {*own.workers}
        os.kill(min(old), signal.SIGKILL)
        own.signal(signal.SIGHUP)
        until(lambda: len(own.workers) == 3 and old.isdisjoint(own.workers))
        sent += sum(hammer([own.port], headers, clients=20, each=20).values())
        assert {decided(own) for _ in range(10)} == {sent}
