"""With sentinels or a cluster, losing a server under load leads to correct answers or 503s, nothing else."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import suppress

import pytest

from devkit.cluster import Nodes
from devkit.load import ClosedLoop
from devkit.ports import free_port
from devkit.redis_server import RedisServer
from devkit.sentinels import ReplicatedRedis
from devkit.service import Gunicorn, record_key
from devkit.tally import Tally, auth
from devkit.waiting import at_best, until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]


def load_of(service: Gunicorn, tokens: Mapping[str, int]) -> ClosedLoop:
    """Return a load of *tokens*, each with the status that it must get unless that is a 503."""
    return ClosedLoop(service.port, *(auth("/auth", token, status) for token, status in tokens.items()))


def outage_s(tally: Tally) -> float:
    """Return the seconds from the first 503 to the last."""
    moments = [exchange.ended for exchange in tally if exchange.status == 503]
    return max(moments) - min(moments) if moments else 0.0


def kinds(service: Gunicorn) -> dict[str, int]:
    """Issue a valid, a deleted and another host's token, and return the correct status for each."""
    valid, revoked, elsewhere = service.issue(), service.issue(), service.issue("b.test")
    assert service.post("/delete_token", token=revoked).status in {200, 302, 303}
    return {valid: 200, revoked: 401, elsewhere: 403}


def writes_reach(service: Gunicorn, server: RedisServer) -> bool:
    """Return whether *server* stores a new token; during a failover, issuing it may fail."""
    with suppress(AssertionError):
        return bool(server.client().exists(record_key(service.issue())))
    return False


def decided(service: Gunicorn, tokens: Mapping[str, int]) -> dict[str, int]:
    """Return the status that the service gives each token."""
    return {token: service.decided(token) for token in tokens}


@pytest.fixture(name="replicated")
def _replicated() -> Iterator[ReplicatedRedis]:
    with ReplicatedRedis() as replicated:
        yield replicated


@pytest.fixture(name="service")
def _service(replicated: ReplicatedRedis) -> Iterator[Gunicorn]:
    with Gunicorn(None, redis_url=replicated.url, web_concurrency=2, redis_deadline_ms=250) as service:
        yield service


class TestSentinel:
    """A primary with two replicas and three sentinels, set up for each test."""

    def test_lost_primary(self, replicated: ReplicatedRedis, service: Gunicorn) -> None:
        """A killed primary is replaced, and the same workers continue with the new one."""
        tokens = kinds(service)
        valid = next(iter(tokens))

        def times() -> tuple[float, float]:
            replicated.repair()
            old = replicated.primary
            until(lambda: old.client().wait(1, 100) >= 1)
            with load_of(service, tokens) as load:
                old.kill()
                until(lambda: replicated.primary is not old)
                # Twenty requests reach both workers; a worker does not reconnect immediately after a failure.
                recovered_s = until(lambda: {service.auth(valid).status for _ in range(20)} == {200})
            assert not load.tally.unexpected(503)
            return load.tally.slowest_s, recovered_s

        at_best(times, 1, 2, tries=5)
        assert decided(service, tokens) == tokens
        assert service.log.count("Booting worker") == 2

    def test_planned_failover(self, replicated: ReplicatedRedis, service: Gunicorn) -> None:
        """In a planned failover, the workers switch before the old primary detects that it was replaced."""
        tokens = kinds(service)

        def times() -> tuple[float, float]:
            replicated.settle()
            old = replicated.primary
            with load_of(service, tokens) as load:
                replicated.fail_over()
                new = replicated.primary
                switched_s = until(lambda: writes_reach(service, new))
                assert switched_s >= 2 or old.client().role()[0] == "master"
            assert not load.tally.unexpected(503)
            return load.tally.slowest_s, switched_s

        at_best(times, 1, 2, tries=5)
        assert decided(service, tokens) == tokens

    def test_all_sentinels_lost(self, replicated: ReplicatedRedis, service: Gunicorn) -> None:
        """While the primary is up, a connected worker needs no sentinel."""
        token = service.issue()
        assert {service.decided(token) for _ in range(100)} == {200}
        for sentinel in replicated.sentinels:
            sentinel.kill()
        time.sleep(1)

        assert {service.decided(token) for _ in range(20)} == {200}


@pytest.fixture(scope="module", name="nodes")
def _nodes() -> Iterator[Nodes]:
    with Nodes(replicas=1) as nodes:
        yield nodes


@pytest.fixture(scope="module", name="spread")
def _spread(nodes: Nodes) -> Iterator[Gunicorn]:
    with Gunicorn(None, redis_url=nodes.url, web_concurrency=2, redis_deadline_ms=250) as service:
        yield service


class TestCluster:
    """A cluster of three primaries with one replica each."""

    def test_slots_that_move(self, nodes: Nodes, spread: Gunicorn) -> None:
        """While slots migrate no answer is wrong, and afterwards every answer is correct."""
        tokens = kinds(spread)

        def slowest_s() -> float:
            with load_of(spread, tokens) as load:
                for token in [*tokens] * 3:
                    nodes.move_slot(record_key(token))
            assert not load.tally.unexpected(503)
            assert decided(spread, tokens) == tokens
            return load.tally.slowest_s

        at_best(slowest_s, 1)

    def test_planned_failover(self, nodes: Nodes, spread: Gunicorn) -> None:
        """A planned failover causes no noticeable interruption."""
        tokens = kinds(spread)

        def slowest_s() -> float:
            old = nodes.owner(record_key(next(iter(tokens))))
            replica = nodes.replica_of(old)
            with load_of(spread, tokens) as load:
                nodes.fail_over(replica, old)
                until(lambda: spread.auth(next(iter(tokens))).status == 200)
            assert not load.tally.unexpected(503)
            return load.tally.slowest_s

        at_best(slowest_s, 1, tries=10)
        assert decided(spread, tokens) == tokens

    def test_lost_node(self, nodes: Nodes, spread: Gunicorn) -> None:
        """A killed primary is replaced by its replica, and the same workers continue with the new one."""
        tokens = kinds(spread)
        valid = next(iter(tokens))

        def times() -> tuple[float, float]:
            old = nodes.owner(record_key(valid))
            nodes.replica_of(old)
            until(lambda: old.client().wait(1, 100) == 1)
            with load_of(spread, tokens) as load:
                old.kill()
                assert spread.page("/healthz").status == 503
                until(lambda: spread.auth(valid).status == 200)
            assert not load.tally.unexpected(503)
            until(lambda: spread.page("/healthz").status == 200)
            old.start()
            return load.tally.slowest_s, outage_s(load.tally)

        at_best(times, 1, 10, tries=5)
        assert decided(spread, tokens) == tokens
        assert spread.log.count("Booting worker") == 2

    def test_no_cluster(self) -> None:
        """The service starts without its cluster, and refuses requests at once."""
        with Gunicorn(None, redis_url=f"redis+cluster://127.0.0.1:{free_port()}") as service:
            assert [service.auth("some-token").status, service.page("/").status] == [503, 503]
