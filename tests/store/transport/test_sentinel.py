"""The client finds the primary through the sentinels, even if some of them are down."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import redis

from app.store.transport.connection import connect
from devkit.builders import make_settings
from devkit.ports import free_port
from devkit.process import run_module
from devkit.redis_server import RedisServer
from devkit.sentinels import SERVICE, Sentinel


@pytest.fixture(scope="module", name="primary")
def _primary() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="module", name="sentinels")
def _sentinels(primary: RedisServer) -> Iterator[list[Sentinel]]:
    with Sentinel(primary) as one, Sentinel(primary) as two, Sentinel(primary) as three:
        yield [one, two, three]


def client_url(*ports: int, service: str = SERVICE, login: str = "", options: str = "") -> str:
    """Return the REDIS_URL of the sentinels on *ports*."""
    return f"redis+sentinel://{login}{','.join(f'127.0.0.1:{port}' for port in ports)}/{service}{options}"


def client(*ports: int, **parts: str) -> Any:
    """Return a client that finds its primary through the sentinels on *ports*."""
    settings = make_settings(REDIS_URL=client_url(*ports, **parts), REDIS_DEADLINE_MS=5000)
    return connect(settings, concurrent=False)


def test_finds_the_primary(primary: RedisServer, sentinels: list[Sentinel]) -> None:
    """A client that is given only sentinels connects to the primary."""
    found = client(*(sentinel.port for sentinel in sentinels))

    assert found.info("server")["tcp_port"] == primary.port


def test_most_sentinels_are_down(sentinels: list[Sentinel]) -> None:
    """One sentinel that answers is enough, wherever it is in the list."""
    assert client(free_port(), free_port(), sentinels[0].port).ping()


@pytest.mark.parametrize(("hung", "max_s"), [(1, 0.1), (2, 0.4)])
def test_hung_sentinels(sentinels: list[Sentinel], hung: int, max_s: float) -> None:
    """Sentinels that accept connections but never answer delay a worker only briefly, wherever listed."""
    url = client_url(*(sentinel.port for sentinel in sentinels))
    for sentinel in sentinels[:hung]:
        sentinel.pause()
    try:
        printed = run_module("devkit.drills.sentinel", url)
    finally:
        for sentinel in sentinels[:hung]:
            sentinel.resume()
    assert float(printed) < max_s


def test_database(primary: RedisServer, sentinels: list[Sentinel]) -> None:
    """The number after the service name selects the database."""
    client(sentinels[0].port, options="/3").set("key", "in three")

    with redis.Redis(port=primary.port, db=3, protocol=2) as direct:
        assert direct.get("key") == b"in three"


def test_passwords(primary: RedisServer, sentinels: list[Sentinel]) -> None:
    """Servers and sentinels have separate user names and passwords, which may contain any character."""
    primary.client().acl_setuser("us/er", enabled=True, passwords=["+p@s/s?"], commands=["+@all"], keys="*")
    sentinels[0].client().acl_setuser("wat:ch", enabled=True, passwords=["+s&cret"], commands=["+@all"])
    login, option = "us%2Fer:p%40s%2Fs%3F@", "?sentinel_username=wat%3Ach&sentinel_password=s%26cret"

    assert client(sentinels[0].port, login=login, options=option).acl_whoami() == "us/er"
    with pytest.raises(redis.ConnectionError):
        client(sentinels[0].port, login=login, options=option + "x").ping()


def test_unknown_service(sentinels: list[Sentinel]) -> None:
    """The error names a service that no sentinel monitors."""
    with pytest.raises(
        redis.ConnectionError, match=r"no sentinel names a primary of 'other'.*no such service"
    ):
        client(*(sentinel.port for sentinel in sentinels), service="other").ping()


def test_replica_named_as_primary(primary: RedisServer) -> None:
    """A server that reports the role of a replica is not used, even if a sentinel names it."""
    with (
        RedisServer(options=["--replicaof", f"127.0.0.1 {primary.port}"]) as replica,
        Sentinel(replica) as mistaken,
        pytest.raises(redis.ConnectionError, match="is not a primary"),
    ):
        client(mistaken.port).ping()


def test_primary_that_becomes_a_replica(primary: RedisServer, sentinels: list[Sentinel]) -> None:
    """A connection to a server that became a replica is not reused."""
    found = client(sentinels[0].port)
    found.set("key", 1)
    primary.client().replicaof("127.0.0.1", free_port())
    with pytest.raises(redis.RedisError):
        found.set("key", 2)
    primary.client().replicaof("NO", "ONE")
    before = primary.client().info("stats")["total_connections_received"]
    found.set("key", 3)

    assert primary.client().info("stats")["total_connections_received"] == before + 1
