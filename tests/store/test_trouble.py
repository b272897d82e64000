"""Error messages about an unusable Redis say what to do."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from app.core.errors import StoreUnavailableError
from app.store.transport.commands import called
from app.store.transport.connection import connect
from app.store.transport.deadlines import bounded
from app.store.transport.scripts import CHANGE, Script
from devkit.builders import make_settings
from devkit.redis_server import RedisServer
from devkit.replica import Replica
from tests.store.conftest import contents

ADVICE = [
    ("ACL SETUSER default -evalsha", "ACL SETUSER default +evalsha", "docs/redis.md"),
    ("ACL SETUSER default -hmget", "ACL SETUSER default +hmget", "docs/redis.md"),
    ("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE", "needs its primary"),
    ("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0", "maxmemory"),
    ("CONFIG SET min-replicas-to-write 1", "CONFIG SET min-replicas-to-write 0", "min-replicas-to-write"),
]


@pytest.mark.parametrize(("bad", "good", "advice"), ADVICE)
def test_refusals(real_client: Any, bad: str, good: str, advice: str) -> None:
    """The error for a command that Redis refuses says what to do."""
    replica = Replica(real_client, "pepper")
    real_client.execute_command(*bad.split())
    try:
        with pytest.raises(StoreUnavailableError, match=advice):
            replica.ask("x" * 20)
    finally:
        real_client.execute_command(*good.split())


@pytest.mark.parametrize(
    ("password", "advice"), [("wrong", "check REDIS_USERNAME and REDIS_PASSWORD"), ("", "set REDIS_PASSWORD")]
)
def test_password(real_client: Any, password: str, advice: str) -> None:
    """The error for a wrong or missing password names the setting."""
    port = real_client.connection_pool.connection_kwargs["port"]
    real_client.config_set("requirepass", "right")
    try:
        with pytest.raises(StoreUnavailableError, match=advice):
            Replica(
                connect(make_settings(REDIS_PORT=port, REDIS_PASSWORD=password), concurrent=False), "pepper"
            ).ask("x" * 20)
    finally:
        real_client.config_set("requirepass", "")


def test_invalid_replies(caplog: pytest.LogCaptureFixture) -> None:
    """The error for a reply that can't be used names the place; only LOG_LEVEL=debug logs a traceback."""
    reply: Any = None
    expected = r"invalid reply: TypeError at test_trouble.py:\d+$"
    with pytest.raises(StoreUnavailableError, match=expected), bounded(60):
        len(reply)

    assert [record for record in caplog.records if record.levelno > logging.DEBUG] == []


def test_no_secrets() -> None:
    """The error drops the password that a server without AUTH repeats in its reply."""
    with RedisServer(options=["--rename-command", "AUTH", ""]) as server:
        client = connect(
            make_settings(REDIS_PORT=server.port, REDIS_PASSWORD="open sesame"), concurrent=False
        )
        with pytest.raises(StoreUnavailableError, match="unknown command 'AUTH'") as caught:
            Replica(client, "pepper").ask("x" * 20)
        assert "sesame" not in str(caught.value)


Change = Callable[[Replica, str], object]
CHANGES: dict[str, tuple[str, Change]] = {
    "create": ("add", lambda replica, _: replica.issue(ttl_seconds="60")),
    "edit": ("edit", lambda replica, name: replica.edit(name, {"comment": "x", "ttl_seconds": "60"})),
    "disable": ("edit", lambda replica, name: replica.enable(name, enabled=False)),
    "rotate": ("move", lambda replica, name: replica.rotate(name, "60")),
    "delete": ("remove", lambda replica, name: replica.delete(name)),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_changes_are_whole(real_client: Any, kind: str) -> None:
    """A change is refused, and nothing of it is made, if the user may not run one of its commands."""
    script, change = CHANGES[kind]
    replica = Replica(real_client, "pepper")
    name, _ = replica.issue()
    before = contents(real_client)
    for command in called(Script(script, *CHANGE).source):
        real_client.execute_command("ACL SETUSER default", f"-{command}")
        try:
            with pytest.raises(StoreUnavailableError, match=f"(?i){command}.*docs/redis.md"):
                change(replica, name)
        finally:
            real_client.execute_command("ACL SETUSER default", f"+{command}")
        assert contents(real_client) == before, command
