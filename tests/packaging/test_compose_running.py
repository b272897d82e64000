"""What docker-compose.yml runs, as processes of this machine: its Redis, its sentinels and the smoke test."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from itertools import count
from pathlib import Path
from shutil import copytree
from typing import Any
from unittest.mock import ANY

import pytest
import redis

from devkit.backend import Backend
from devkit.compose import Container, localize, prepare
from devkit.process import ROOT
from devkit.redis_server import RedisServer, shipped_redis
from devkit.service import ADMIN_PASS, ADMIN_USER, Gunicorn
from devkit.waiting import until
from tests.packaging.test_compose import ShippedTraefik

pytestmark = pytest.mark.e2e

OPTIONS = ["--dir", "/data", *shipped_redis(rights=False), "--save", ""]
SENTINEL_PORT = 26379
_NETWORKS = count(os.getpid())


def network() -> str:
    """Return the first three numbers of addresses of this machine that no other process uses."""
    number = next(_NETWORKS)
    prefix = f"127.{number // 250 % 250 + 1}.{number % 250 + 1}"
    with socket.socket() as trial:
        try:
            trial.bind((f"{prefix}.2", 0))
        except OSError:
            pytest.skip("this system has no loopback address but 127.0.0.1")
    return prefix


def password(secrets: Path, name: str) -> str:
    """Return one of the generated passwords."""
    return (secrets / name).read_text("utf-8").strip()


def signed_in(container: Container) -> Any:
    """Return a client of the service's user for *container*."""
    return container.client("acl-auth", password(container.secrets, "redis_password"))


def service_of(secrets: Path) -> Gunicorn:
    """Return the service, which finds Redis as that of the stack does."""
    files = {f"{name}_file": secrets / name for name in ("redis_url", "redis_password")}
    return Gunicorn(None, web_concurrency=1, **files)


class Stack:
    """The two Redis servers and the three sentinels of the profile `ha`."""

    def __init__(self, secrets: Path) -> None:
        self.network, self.secrets = network(), secrets
        prepare(secrets, "ha", self.network)
        localize(secrets)
        # The service's users can't read the log of what was denied.
        for name in ("redis.acl", "sentinels.acl"):
            with (secrets / name).open("a") as users:
                users.write("user observer on nopass allkeys allcommands\n")
        self.servers = [Container(secrets, f"{self.network}.{number}") for number in (2, 3)]
        first, second = self.servers
        first.server([*OPTIONS, *first.bound])
        second.program(
            "replica.sh", first.address, *second.localized("\n".join([*OPTIONS, *second.bound])).split("\n")
        )
        self.sentinels = [self._sentinel(number) for number in (11, 12, 13)]

    def _sentinel(self, number: int) -> Container:
        sentinel = Container(self.secrets, f"{self.network}.{number}", SENTINEL_PORT)
        text = (self.secrets / "sentinel.conf").read_text("utf-8")
        bound = f"bind {sentinel.address}\nbind-source-addr {sentinel.address}\n"
        (sentinel.dir / "sentinel.conf").write_text(sentinel.localized(bound + text))
        sentinel.program("sentinel.sh", "monitoring,ha")
        return sentinel

    @property
    def running(self) -> list[Container]:
        """Return all of them."""
        return [*self.servers, *self.sentinels]

    def follows(self, server: Container) -> bool:
        """Return whether *server* is a replica with all data."""
        with suppress(
            redis.ConnectionError
        ):  # a sentinel closes all connections to a server that it makes a replica
            status: str | None = signed_in(server).info("replication").get("master_link_status")
            return status == "up"
        return False


@pytest.fixture(scope="module", name="stack")
def _stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = Stack(tmp_path_factory.mktemp("secrets"))
    with ExitStack() as running:
        for server in stack.servers:
            running.enter_context(server)
        until(lambda: stack.follows(stack.servers[1]))
        for sentinel in stack.sentinels:
            running.enter_context(sentinel)
        yield stack


def test_upgrade_keeps_tokens(tmp_path: Path) -> None:
    """Redis starts with its users and has what transactions and scripts wrote before there were any."""
    prepare(tmp_path)
    localize(tmp_path)
    server = Container(tmp_path, f"{network()}.2")
    server.server([*OPTIONS, *server.bound])
    with RedisServer(aof=True, options=shipped_redis()) as older:
        older.client().pipeline().hset("tokens:a", "hosts", "a.test").expire("tokens:a", 3600).execute()
        older.client().eval("return redis.call('HSET', KEYS[1], 'hosts', 'b.test')", 1, "tokens:b")
        older.stop()
        copytree(older.dir / "appendonlydir", server.dir / "appendonlydir")
    with server:
        assert [signed_in(server).hget(f"tokens:{name}", "hosts") for name in "ab"] == ["a.test", "b.test"]


def test_failover(stack: Stack) -> None:
    """A replica takes over with every token, keeps its role, and the old primary follows it."""
    first, second = stack.servers
    with service_of(stack.secrets) as service:
        token = service.issue()
        signed_in(first).wait(1, 0)
        first.stop()
        assert service.decided(token) == 200
        assert service.decided("x" * 40) == 401

        second.stop()
        second.start()
        assert signed_in(second).role()[0] == "master"
        assert service.decided(token) == 200
        first.start()
        until(lambda: stack.follows(first))
        assert service.decided(token) == 200

    denied = [entry for one in stack.running for entry in one.client("observer").acl_log()]
    assert [(entry["username"], entry["object"]) for entry in denied] == []


def test_nobody_without_a_password(stack: Stack) -> None:
    """Neither Redis nor a sentinel does anything for a client that does not sign in."""
    for one in (stack.servers[1], stack.sentinels[0]):
        with pytest.raises(redis.AuthenticationError):
            one.client(None).ping()
        with pytest.raises(redis.AuthenticationError):
            one.client("default", "").ping()
        with pytest.raises(redis.exceptions.NoPermissionError):
            one.client("health").info()


def test_wrong_start() -> None:
    """A sentinel says what to do if the service can't know of it."""
    sentinel = Container(Path("/nowhere"), "127.0.0.1")
    sentinel.program("sentinel.sh", "monitoring")
    with pytest.raises(RuntimeError, match="COMPOSE_PROFILES=ha"), sentinel:
        pass


def smoke(command: Path, port: int, *arguments: str) -> tuple[int, str]:
    """Run the smoke test as docs/docker.md says; return its exit status and what it prints."""
    argv = [sys.executable, str(ROOT / "scripts/smoke.py"), "--port", str(port), *arguments]
    done = subprocess.run(
        [*argv, "--compose", f"sh {command}"], env={}, capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_smoke(tmp_path: Path) -> None:
    """The smoke test passes on what ships and leaves no token behind; it fails where there is no proxy."""
    prepare(tmp_path)
    localize(tmp_path)
    server = Container(tmp_path, f"{network()}.2")
    server.server([*OPTIONS, *server.bound])
    (tmp_path / "redis_url").write_text(f"redis://acl-auth@{server.address}")
    command = tmp_path / "command.sh"
    command.write_text(f"printf '%s\\n' {ADMIN_USER} '{ADMIN_PASS}'")
    with server, service_of(tmp_path) as service, Backend() as echo:
        with ShippedTraefik(echo.port, service.port) as traefik:
            assert smoke(command, traefik.port) == (0, ANY)
            assert service.page("/api/v1/tokens").json()["tokens"] == []
        status, printed = smoke(command, service.port)
        assert (status, printed.splitlines()[-1]) == (1, ANY)
