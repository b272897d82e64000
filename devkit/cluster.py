"""A Redis Cluster whose slots can be moved and whose nodes can fail over."""

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

NODE_TIMEOUT_MS = 1000


class Node(RedisServer):
    """A node of a Cluster, which considers another node down after a second."""

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
        """Return its node id."""
        return str(self("MYID"))

    @property
    def state(self) -> dict[str, str]:
        """Return its CLUSTER INFO."""
        return dict(self("INFO"))

    @property
    def is_primary(self) -> bool:
        """Return whether it is a primary."""
        return bool(self.client().role()[0] == "master")

    def owner_port(self, slot: int) -> int | None:
        """Return the port of the node that it considers the owner of *slot*."""
        owners = (node[1] for first, last, node, *_ in self("SLOTS") if first <= slot <= last)
        return next(owners, None)

    def __call__(self, *words: str | int) -> Any:
        """Run a CLUSTER command on it."""
        return self.client().execute_command(f"CLUSTER {words[0]}", *words[1:])


class Nodes:
    """A Cluster, by default of three primaries, each with that many replicas."""

    def __init__(
        self, replicas: int = 0, options: Callable[[], Sequence[str]] = list, primaries: int = 3
    ) -> None:
        self.primaries = [Node(options()) for _ in range(primaries)]
        self.replicas = [Node() for _ in range(primaries * replicas)]
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
        """Return all nodes."""
        return [*self.primaries, *self.replicas]

    @property
    def url(self) -> str:
        """Return a REDIS_URL of two nodes and of an address where nothing listens."""
        ports = [free_port(), *(node.port for node in self.all[:2])]
        return f"redis+cluster://{','.join(f'127.0.0.1:{port}' for port in ports)}"

    def client(self, **settings: Any) -> WholeCluster:
        """Return a client as the service uses it, with a long deadline."""
        client = connect(
            make_settings(REDIS_URL=self.url, REDIS_DEADLINE_MS=5000, **settings), concurrent=False
        )
        assert isinstance(client, Cluster)
        return WholeCluster(client)

    def owner(self, key: str) -> Node:
        """Return the node that serves *key* once all nodes agree on it."""
        until(lambda: len(self._owner_ports(key)) == 1)
        (port,) = self._owner_ports(key)
        return next(node for node in self.all if node.port == port)

    def _owner_ports(self, key: str) -> set[int | None]:
        return {node.owner_port(slot_of(key)) for node in self.all if node.is_alive}

    def other(self, node: Node) -> Node:
        """Return a primary other than *node*."""
        return next(primary for primary in self.all if primary.is_primary and primary is not node)

    def replica_of(self, node: Node) -> Node:
        """Return a replica of *node* once it is in sync."""
        until(lambda: any(self._follows(other, node) for other in self.all))
        return next(other for other in self.all if self._follows(other, node))

    @staticmethod
    def _follows(other: Node, node: Node) -> bool:
        role = other.client().role() if other.is_alive else [""]
        return bool(role[0] == "slave" and role[2:4] == [node.port, "connected"])

    @staticmethod
    def fail_over(replica: Node, old: Node) -> None:
        """Have *replica* take over from *old*, trying again while the others refuse another failover."""
        while old.is_primary:
            replica("FAILOVER")
            with suppress(AssertionError):
                until(lambda: replica.is_primary and not old.is_primary, deadline_s=6)  # it gives up after 5

    def begin_move(self, key: str, source: Node, target: Node) -> None:
        """Begin to migrate the slot of *key*."""
        target("SETSLOT", slot_of(key), "IMPORTING", source.id)
        source("SETSLOT", slot_of(key), "MIGRATING", target.id)

    def move_keys(self, source: Node, target: Node, *keys: str, replace: bool = False) -> None:
        """Move some keys of a slot that is being migrated, and *replace* those of the target or fail."""
        source.client().migrate("127.0.0.1", target.port, list(keys), 0, 5000, replace=replace)

    def end_move(self, key: str, target: Node) -> None:
        """Make *target* the owner of the slot of *key*.

        The source refuses to be told so by a client while it has keys in the slot, such as the audit log.
        """
        target("SETSLOT", slot_of(key), "NODE", target.id)
        others = [node for node in self.all if node is not target and node.is_primary]
        until(lambda: all(node.owner_port(slot_of(key)) == target.port for node in others))
        for node in others:
            node("SETSLOT", slot_of(key), "NODE", target.id)

    def move_slot(self, key: str) -> None:
        """Migrate the slot of *key* to another node, key by key, as redis-cli does."""
        source = self.owner(key)
        target = self.other(source)
        self.begin_move(key, source, target)
        while found := source("GETKEYSINSLOT", slot_of(key), 1):
            self.move_keys(source, target, *found)
        self.end_move(key, target)
        until(lambda: self._owner_ports(key) == {target.port})

    def settle(self) -> None:
        """Wait until every node reports that the Cluster is healthy."""
        until(lambda: all(node.state["cluster_state"] == "ok" for node in self.all))

    def _join(self) -> None:
        count = len(self.primaries)
        for number, node in enumerate(self.primaries):
            first = 16384 * number // count
            node("ADDSLOTSRANGE", first, 16384 * (number + 1) // count - 1)
            node("SET-CONFIG-EPOCH", number + 1)
        for node in self.all[1:]:
            node("MEET", "127.0.0.1", self.primaries[0].port, self.primaries[0].bus_port)
        until(lambda: all(node.state["cluster_known_nodes"] == str(len(self.all)) for node in self.all))
        for number, node in enumerate(self.replicas):
            node("REPLICATE", self.primaries[number % count].id)
        self.settle()
        until(
            lambda: all(
                node.client().info("replication")["master_link_status"] == "up" for node in self.replicas
            )
        )


class WholeCluster(Cluster):
    """A client that also runs commands of a whole database on every primary."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster.slots, cluster.at)

    def keys(self, pattern: str = "*") -> list[bytes]:
        """Return all keys that match *pattern*."""
        return [key for address in self.slots.primaries() for key in self.at(address).keys(pattern)]

    def flushall(self) -> None:
        """Delete all keys."""
        for address in self.slots.primaries():
            self.at(address).flushall()

    def script_flush(self) -> None:
        """Remove all scripts."""
        for address in self.slots.primaries():
            self.at(address).script_flush()
