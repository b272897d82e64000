"""Several Redis servers that watch over each other: a group of sentinels, or a Cluster."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Self

from tests.harness import RedisServer

SERVICE = "tokens"
DOWN_MS = 500


def until(is_so: Callable[[], bool], deadline_s: float = 20) -> float:
    """Wait until *is_so*; return how many seconds that took."""
    began = time.monotonic()
    while not is_so():
        assert time.monotonic() < began + deadline_s, "it takes too long"
        time.sleep(0.01)
    return time.monotonic() - began


class Sentinel(RedisServer):
    """A sentinel that calls a server down after half a second."""

    name = "sentinel"

    def __init__(self, primary: RedisServer) -> None:
        super().__init__()
        lines = [
            f"port {self.port}",
            "bind 127.0.0.1",
            f"dir {self.dir}",
            f"sentinel monitor {SERVICE} 127.0.0.1 {primary.port} 2",
            f"sentinel down-after-milliseconds {SERVICE} {DOWN_MS}",
            f"sentinel failover-timeout {SERVICE} 3000",
        ]
        config = self.dir / "sentinel.conf"
        config.write_text("\n".join(lines))
        self.argv = [self.argv[0], str(config), "--sentinel"]

    def knows(self, replicas: int, sentinels: int) -> bool:
        """Tell whether it sees so many replicas that follow, and so many sentinels but itself."""
        state = self.client().sentinel_master(SERVICE)
        following = [one["master-link-status"] == "ok" for one in self.client().sentinel_slaves(SERVICE)]
        return (following, state["num-other-sentinels"]) == ([True] * replicas, sentinels)

    @property
    def primary_port(self) -> int:
        """Return the port of the server that it calls the primary."""
        return int(self.client().sentinel_get_master_addr_by_name(SERVICE)[1])


class Guarded:
    """A primary and two replicas under three sentinels."""

    def __init__(self) -> None:
        first = RedisServer(aof=True)
        follow = ["--replicaof", f"127.0.0.1 {first.port}", "--repl-diskless-sync-delay", "0"]
        self.servers = [first, *(RedisServer(aof=True, options=follow) for _ in range(2))]
        self.sentinels = [Sentinel(first) for _ in range(3)]
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with self._stack:
            for server in self.servers:
                self._stack.enter_context(server)
            until(
                lambda: (
                    self.servers[0].client().info("replication")["connected_slaves"] == len(self.servers) - 1
                )
            )
            for (
                sentinel
            ) in self.sentinels:  # each learns of replicas when it asks first, then every ten seconds
                self._stack.enter_context(sentinel)
            self.settle()
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def url(self) -> str:
        """Return the REDIS_URL of the service."""
        return f"redis+sentinel://{','.join(f'127.0.0.1:{s.port}' for s in self.sentinels)}/{SERVICE}"

    @property
    def primary(self) -> RedisServer:
        """Return the server that is the primary now."""
        port = self.sentinels[0].primary_port
        return next(server for server in self.servers if server.port == port)

    def settle(self) -> None:
        """Wait until both replicas follow and all sentinels agree on everything."""
        until(lambda: all(sentinel.knows(replicas=2, sentinels=2) for sentinel in self.sentinels))
        until(lambda: len({sentinel.primary_port for sentinel in self.sentinels}) == 1)

    def fail_over(self) -> None:
        """Have the sentinels make another server the primary; return when all name it."""
        old = self.primary.port
        self.sentinels[0].client().sentinel_failover(SERVICE)
        until(lambda: all(sentinel.primary_port != old for sentinel in self.sentinels))
