"""A primary, its replicas and the sentinels that watch them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Self

from devkit.redis_server import RedisServer
from devkit.waiting import until

SERVICE = "tokens"
DOWN_MS = 500
# An option for tests in which the primary stays up: redis-py does not use one that a sentinel considers down.
PATIENT = f"sentinel down-after-milliseconds {SERVICE} 60000"


class Sentinel(RedisServer):
    """A sentinel that considers a server down after half a second."""

    name = "sentinel"

    def __init__(self, primary: RedisServer, port: int = 0, options: Sequence[str] = ()) -> None:
        super().__init__()
        lines = [
            f"port {self.port}",
            "bind 127.0.0.1",
            f"dir {self.dir}",
            f"sentinel monitor {SERVICE} 127.0.0.1 {port or primary.port} 2",
            f"sentinel down-after-milliseconds {SERVICE} {DOWN_MS}",
            f"sentinel failover-timeout {SERVICE} 3000",
            *options,
        ]
        config = self.dir / "sentinel.conf"
        config.write_text("\n".join(lines))
        self.argv = [self.argv[0], str(config), "--sentinel"]

    def knows(self, replicas: int, sentinels: int) -> bool:
        """Return whether it sees that many replicas in sync, and that many other sentinels."""
        state = self.client().sentinel_master(SERVICE)
        following = [one["master-link-status"] == "ok" for one in self.client().sentinel_slaves(SERVICE)]
        return (following, state["num-other-sentinels"]) == ([True] * replicas, sentinels)

    @property
    def primary_port(self) -> int:
        """Return the port of the server that it considers the primary."""
        return int(self.client().sentinel_get_master_addr_by_name(SERVICE)[1])


class ReplicatedRedis:
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
            first = self.servers[0].client()
            until(lambda: first.info("replication")["connected_slaves"] == len(self.servers) - 1)
            # Only now, because a sentinel looks for replicas when it starts and then every ten seconds.
            for sentinel in self.sentinels:
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
        """Return the current primary."""
        port = self.sentinels[0].primary_port
        return next(server for server in self.servers if server.port == port)

    def settle(self) -> None:
        """Wait until both replicas are in sync and all sentinels agree on the primary."""
        until(lambda: all(sentinel.knows(replicas=2, sentinels=2) for sentinel in self.sentinels))
        until(lambda: len({sentinel.primary_port for sentinel in self.sentinels}) == 1)

    def repair(self) -> None:
        """Restart the servers that were killed, and wait as settle does."""
        for server in self.servers:
            if not server.is_alive:
                server.start()
        self.settle()

    def fail_over(self) -> None:
        """Have the sentinels promote another server; return once all of them name it."""
        old = self.primary.port
        self.sentinels[0].client().sentinel_failover(SERVICE)
        until(lambda: all(sentinel.primary_port != old for sentinel in self.sentinels))
