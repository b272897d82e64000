"""What is said of a Redis with which no decision can be made names the thing to do."""

from __future__ import annotations

from typing import Any

import pytest

from app.core.errors import StoreUnavailableError
from app.store.transport.connection import connect
from devkit.builders import make_settings
from devkit.redis_server import RedisServer
from devkit.replica import Replica

TOLD = [
    ("ACL SETUSER default -evalsha", "ACL SETUSER default +evalsha", "docs/redis.md"),
    ("ACL SETUSER default -hmget", "ACL SETUSER default +hmget", "docs/redis.md"),
    ("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE", "needs its primary"),
    ("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0", "maxmemory"),
    ("CONFIG SET min-replicas-to-write 1", "CONFIG SET min-replicas-to-write 0", "min-replicas-to-write"),
]


@pytest.mark.parametrize(("bad", "good", "told"), TOLD)
def test_refusals(real_client: Any, bad: str, good: str, told: str) -> None:
    """A refusal by Redis comes with what is to be done."""
    replica = Replica(real_client, "pepper")
    real_client.execute_command(*bad.split())
    try:
        with pytest.raises(StoreUnavailableError, match=told):
            replica.ask("x" * 20)
    finally:
        real_client.execute_command(*good.split())


@pytest.mark.parametrize(
    ("password", "told"), [("wrong", "check REDIS_USERNAME and REDIS_PASSWORD"), ("", "set REDIS_PASSWORD")]
)
def test_password(real_client: Any, password: str, told: str) -> None:
    """A password that is wrong, or missing, is named by its setting."""
    port = real_client.connection_pool.connection_kwargs["port"]
    real_client.config_set("requirepass", "right")
    try:
        with pytest.raises(StoreUnavailableError, match=told):
            Replica(
                connect(make_settings(REDIS_PORT=port, REDIS_PASSWORD=password), concurrent=False), "pepper"
            ).ask("x" * 20)
    finally:
        real_client.config_set("requirepass", "")


def test_no_secrets() -> None:
    """A server that does not know AUTH repeats the password in its error; nobody is told."""
    with RedisServer(options=["--rename-command", "AUTH", ""]) as server:
        client = connect(
            make_settings(REDIS_PORT=server.port, REDIS_PASSWORD="open sesame"), concurrent=False
        )
        with pytest.raises(StoreUnavailableError, match="unknown command 'AUTH'") as caught:
            Replica(client, "pepper").ask("x" * 20)
        assert "sesame" not in str(caught.value)
