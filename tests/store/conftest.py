"""Fixtures that run the same tests on fakeredis, a real server and a real Cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import fakeredis
import pytest
import redis

from devkit.cluster import Nodes
from devkit.redis_server import RedisServer


class FakeRedis(fakeredis.FakeRedis):
    """fakeredis, which does not support the ``#!lua`` line of a script."""

    def eval(self, script: str, *args: Any) -> Any:
        """Run *script* without its first line."""
        return super().eval(script.partition("\n")[2], *args)


@pytest.fixture(params=["fake", "real", "cluster"])
def client(request: pytest.FixtureRequest) -> Any:
    """Return a client of an empty database."""
    return request.getfixturevalue(f"{request.param}_client")


@pytest.fixture(params=["fake", "real"])
def single_client(request: pytest.FixtureRequest) -> Any:
    """Return a client of an empty database on one server, because tokens in a Cluster keep their pepper."""
    return request.getfixturevalue(f"{request.param}_client")


@pytest.fixture
def fake_client() -> Any:
    """Return a client of an empty fakeredis database."""
    return FakeRedis(server=fakeredis.FakeServer())


@pytest.fixture
def real_client(redis_server: RedisServer) -> Any:
    """Return a client of an empty database on a real server."""
    with redis.Redis(port=redis_server.port, protocol=2) as client:
        client.flushall()
        yield client


@pytest.fixture(scope="session")
def nodes() -> Iterator[Nodes]:
    """Run a Cluster for all tests that share one."""
    with Nodes() as nodes:
        yield nodes


@pytest.fixture
def cluster_client(nodes: Nodes) -> Iterator[Any]:
    """Return a client of an empty Cluster."""
    with closing(nodes.client()) as client:
        client.flushall()
        yield client


def contents(client: Any) -> dict[bytes, Any]:
    """Return the type and content of every key, of time to live only whether there is one."""
    read = {
        b"hash": client.hgetall,
        b"string": client.get,
        b"zset": lambda key: client.zrange(key, 0, -1, withscores=True),
        b"list": lambda key: client.lrange(key, 0, -1),
        b"set": client.smembers,
        b"stream": client.xlen,
    }
    found = sorted({*client.scan_iter()})
    return {key: (kind := client.type(key), read[kind](key), client.ttl(key) >= 0) for key in found}
