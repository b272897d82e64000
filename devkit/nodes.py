"""Several Redis servers that watch over each other: under sentinels, or as a Cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from typing import Any, Self

from app.store.transport.cluster import Cluster
from app.store.transport.connection import connect
from app.store.transport.slots import slot_of
from devkit.builders import make_settings
from devkit.ports import free_port
from devkit.redis_server import RedisServer
from devkit.waiting import until

SERVICE = "tokens"
DOWN_MS = 500
NODE_TIMEOUT_MS = 1000


class Sentinel(RedisServer):
    """A sentinel that calls a server down after half a second."""

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

    def mend(self) -> None:
        """Start again who was killed, and wait as settle does."""
        for server in self.servers:
            if not server.is_alive:
                server.start()
        self.settle()

    def fail_over(self) -> None:
        """Have the sentinels make another server the primary; return when all name it."""
        old = self.primary.port
        self.sentinels[0].client().sentinel_failover(SERVICE)
        until(lambda: all(sentinel.primary_port != old for sentinel in self.sentinels))


class Node(RedisServer):
    """A server that is part of a Cluster and calls another one lost after a second."""

    name = "node"

    def __init__(self, more: Sequence[str] = ()) -> None:
        self.bus_port = free_port()
        options = {"enabled": "yes", "node-timeout": NODE_TIMEOUT_MS, "port": self.bus_port}
        super().__init__(
            aof=True,
            options=[
                *(word for name, value in options.items() for word in (f"--cluster-{name}", str(value))),
                *("--repl-diskless-sync-delay", "0"),
                *more,
            ],
        )

    @property
    def id(self) -> str:
        """Return the name by which the other nodes know it."""
        return str(self("MYID"))

    @property
    def state(self) -> dict[str, str]:
        """Return what it thinks of the Cluster."""
        return dict(self("INFO"))

    @property
    def is_primary(self) -> bool:
        """Tell whether it serves slots."""
        return bool(self.client().role()[0] == "master")

    def owner_port(self, slot: int) -> int | None:
        """Return the port of the node that it takes for the owner of *slot*."""
        owners = (node[1] for first, last, node, *_ in self("SLOTS") if first <= slot <= last)
        return next(owners, None)

    def __call__(self, *words: str | int) -> Any:
        """Send it a CLUSTER command."""
        return self.client().execute_command(f"CLUSTER {words[0]}", *words[1:])


class Nodes:
    """A Cluster of three primaries, each with so many replicas."""

    def __init__(self, replicas: int = 0, options: Callable[[], Sequence[str]] = list) -> None:
        self.primaries = [Node(options()) for _ in range(3)]
        self.replicas = [Node() for _ in range(3 * replicas)]
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with self._stack:
            for node in self.all:
                self._stack.enter_context(node)
            self._join()
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def all(self) -> Sequence[Node]:
        """Return every node."""
        return [*self.primaries, *self.replicas]

    @property
    def url(self) -> str:
        """Return a REDIS_URL that names some of them, one that never was among them."""
        ports = [free_port(), *(node.port for node in self.all[:2])]
        return f"redis+cluster://{','.join(f'127.0.0.1:{port}' for port in ports)}"

    def client(self, **settings: Any) -> Anywhere:
        """Return a client of the service, with a time for whatever tests do to it."""
        made = connect(
            make_settings(REDIS_URL=self.url, REDIS_DEADLINE_MS=5000, **settings), concurrent=False
        )
        assert isinstance(made, Cluster)
        return Anywhere(made)

    def owner(self, key: str) -> Node:
        """Return the node that serves *key* once all nodes say the same."""
        until(lambda: len(self._owner_ports(key)) == 1)
        (port,) = self._owner_ports(key)
        return next(node for node in self.all if node.port == port)

    def _owner_ports(self, key: str) -> set[int | None]:
        return {node.owner_port(slot_of(key)) for node in self.all if node.is_alive}

    def other(self, node: Node) -> Node:
        """Return a primary that is not *node*."""
        return next(primary for primary in self.all if primary.is_primary and primary is not node)

    def replica_of(self, node: Node) -> Node:
        """Return a node that follows *node* once there is one."""
        until(lambda: any(self._follows(other, node) for other in self.all))
        return next(other for other in self.all if self._follows(other, node))

    @staticmethod
    def _follows(other: Node, node: Node) -> bool:
        role = other.client().role() if other.is_alive else ["dead"]
        return bool(role[0] == "slave" and role[2:4] == [node.port, "connected"])

    @staticmethod
    def fail_over(replica: Node, old: Node) -> None:
        """Have *replica* take the place of *old*; the others refuse for a while after they agreed to one."""
        while old.is_primary:
            replica("FAILOVER")
            with suppress(AssertionError):
                until(lambda: replica.is_primary and not old.is_primary, deadline_s=6)  # it gives up after 5

    def begin_move(self, key: str, source: Node, target: Node) -> None:
        """Announce that the slot of *key* moves."""
        target("SETSLOT", slot_of(key), "IMPORTING", source.id)
        source("SETSLOT", slot_of(key), "MIGRATING", target.id)

    def move_keys(self, source: Node, target: Node, *keys: str) -> None:
        """Move some keys of a slot that moves."""
        source.client().migrate("127.0.0.1", target.port, list(keys), 0, 5000)

    def end_move(self, key: str, target: Node) -> None:
        """Make *target* the owner of the slot of *key*."""
        for node in (target, *(node for node in self.all if node is not target and node.is_primary)):
            node("SETSLOT", slot_of(key), "NODE", target.id)

    def move_slot(self, key: str) -> None:
        """Move the slot of *key* to another node, key by key, as redis-cli does."""
        source = self.owner(key)
        target = self.other(source)
        self.begin_move(key, source, target)
        while found := source("GETKEYSINSLOT", slot_of(key), 1):
            self.move_keys(source, target, *found)
        self.end_move(key, target)
        until(lambda: self._owner_ports(key) == {target.port})

    def settle(self) -> None:
        """Wait until every node finds that all slots are served."""
        until(lambda: all(node.state["cluster_state"] == "ok" for node in self.all))

    def _join(self) -> None:
        for number, node in enumerate(self.primaries):
            first = 16384 * number // 3
            node("ADDSLOTSRANGE", first, 16384 * (number + 1) // 3 - 1)
            node("SET-CONFIG-EPOCH", number + 1)
        for node in self.all[1:]:
            node("MEET", "127.0.0.1", self.primaries[0].port, self.primaries[0].bus_port)
        until(lambda: all(node.state["cluster_known_nodes"] == str(len(self.all)) for node in self.all))
        for number, node in enumerate(self.replicas):
            node("REPLICATE", self.primaries[number % 3].id)
        self.settle()
        until(
            lambda: all(
                node.client().info("replication")["master_link_status"] == "up" for node in self.replicas
            )
        )


class Anywhere(Cluster):
    """A client that also does what tests ask of a whole database."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster.slots, cluster.at)

    def keys(self, pattern: str = "*") -> list[bytes]:
        """Return all keys that fit."""
        return [key for address in self.slots.primaries() for key in self.at(address).keys(pattern)]

    def flushall(self) -> None:
        """Forget everything."""
        for address in self.slots.primaries():
            self.at(address).flushall()

    def script_flush(self) -> None:
        """Forget all scripts."""
        for address in self.slots.primaries():
            self.at(address).script_flush()
