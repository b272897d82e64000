"""Commands that are sent early have their own replies, and nothing else has."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from app.store.transport.early import send
from devkit.redis_server import RedisServer


def test_replies(client: Any) -> None:
    """The replies come in order, errors among them, whatever else the client does meanwhile."""
    read = send(client, [("SET", "{a}1", "x"), ("LPOP", "{a}1"), ("GET", "{a}1"), ("INCR", "{a}2")])
    client.set("{a}3", "y")
    done, error, *others = read()
    assert done in (True, b"OK")
    assert isinstance(error, redis.ResponseError)
    assert (others, client.get("{a}3")) == ([b"x", 1], b"y")


def test_missing_reply(redis_server: RedisServer) -> None:
    """After a reply that did not come in time, the only connection of the pool has no late one."""
    options: dict[str, Any] = {"socket_timeout": 0.1, "max_connections": 1, "retry": None}
    with redis.Redis(connection_pool=redis.ConnectionPool(port=redis_server.port, **options)) as client:
        read = send(client, [("PING",), ("BLPOP", "nothing", "0.3")])
        with pytest.raises(redis.TimeoutError):
            read()
        client.set("b", "z")
        assert [client.get("b") for _ in range(3)] == [b"z"] * 3
