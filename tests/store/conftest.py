"""The same tests on the fake and on a real server: what passes here holds on both."""

from __future__ import annotations

from typing import Any

import fakeredis
import pytest
import redis

from tests.harness import RedisServer


class FakeRedis(fakeredis.FakeRedis):
    """fakeredis, which does not know the ``#!lua`` line of a script."""

    def eval(self, script: str, *args: Any) -> Any:
        """Run *script* without its first line."""
        return super().eval(script.partition("\n")[2], *args)


@pytest.fixture(params=["fake", "real"])
def client(request: pytest.FixtureRequest) -> Any:
    """Return a client of an empty database."""
    if request.param == "fake":
        return FakeRedis(server=fakeredis.FakeServer())
    return request.getfixturevalue("real_client")


@pytest.fixture
def real_client(redis_server: RedisServer) -> Any:
    """Return a client of an empty database on a real server."""
    with redis.Redis(port=redis_server.port, protocol=2) as client:
        client.flushall()
        yield client
