"""A Redis Cluster: tokens in all slots, and slots that move while their tokens are used.

The other tests of the store run on a Cluster too; these cover what a single server does not have.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from app.core.errors import StoreUnavailableError
from app.core.limits import Limit
from app.core.verdicts import Verdict
from app.store import keys
from app.store.transport.connection import connect
from app.store.transport.slots import slot_of
from devkit import replica as replicas
from devkit.builders import make_settings
from devkit.cluster import Node, Nodes
from devkit.ports import free_port
from devkit.process import run_module
from devkit.replica import Replica
from devkit.waiting import until


@pytest.fixture(name="replica")
def _replica(cluster_client: Any, monkeypatch: pytest.MonkeyPatch) -> Replica:
    """Return a replica on an empty Cluster that waits for a moving slot as long as the service does."""
    monkeypatch.setattr(replicas, "DEADLINE_S", 0.25)
    return Replica(cluster_client, "pepper", limit=Limit(3, 60))


def is_healthy(replica: Replica) -> bool:
    """Tell whether a health check passes."""
    try:
        replica.check_health()
    except StoreUnavailableError:
        return False
    return True


@pytest.mark.usefixtures("cluster_client")  # an empty Cluster
def test_one_connection_per_node(nodes: Nodes) -> None:
    """Two thousand concurrent decisions share one connection to each node, and each gets its own reply."""
    run_module("devkit.drills.cluster", nodes.url)
    before = [node.client().info("stats")["total_connections_received"] for node in nodes.all]
    run_module("devkit.drills.cluster", nodes.url)
    after = [node.client().info("stats")["total_connections_received"] for node in nodes.all]

    assert [b - a for a, b in zip(before, after, strict=True)] in ([2, 2, 1], [2, 1, 1], [1, 2, 1])


def test_no_node_answers() -> None:
    """A client is created without connecting, and its first command reports that no node answers."""
    client = connect(make_settings(REDIS_URL=f"redis+cluster://127.0.0.1:{free_port()}"), concurrent=False)

    with pytest.raises(StoreUnavailableError, match="no node of the Cluster answers"):
        Replica(client, "pepper").catalog.page(1)


def test_server_without_cluster_mode(real_client: Any) -> None:
    """The error of a server without cluster mode is passed on."""
    port = real_client.connection_pool.connection_kwargs["port"]
    settings = make_settings(REDIS_URL=f"redis+cluster://127.0.0.1:{port}", REDIS_DEADLINE_MS=5000)
    client = connect(settings, concurrent=False)

    with pytest.raises(StoreUnavailableError, match="cluster support disabled"):
        Replica(client, "pepper").check_health()


@pytest.mark.parametrize("coverage", ["yes", "no"])
def test_slot_without_a_node(nodes: Nodes, replica: Replica, coverage: str) -> None:
    """A Cluster is unhealthy if any slot has no node, even if all nodes answer and report no problem."""
    replica.check_health()
    node = nodes.primaries[0]
    node.client().config_set("cluster-require-full-coverage", coverage)
    node("DELSLOTS", 0)
    try:
        until(lambda: node.state["cluster_slots_assigned"] == "16383")
        until(lambda: node.state["cluster_state"] == ("fail" if coverage == "yes" else "ok"))
        with pytest.raises(StoreUnavailableError, match=r"does not serve all slots|ClusterDown"):
            replica.check_health()
    finally:
        node("ADDSLOTS", 0)
        node.client().config_set("cluster-require-full-coverage", "yes")
        nodes.settle()
    until(lambda: is_healthy(replica))  # the first check may use a map of slots loaded before


def test_pinned_connection(nodes: Nodes, cluster_client: Any) -> None:
    """A command without a key uses the connection of the command before it, on whichever node that is."""
    for key in ("a", "b", "c"):
        with cluster_client.client() as own:
            own.set(key, 1)
            number = own.client_id()
            (last,) = [c for c in nodes.owner(key).client().client_list() if c["id"] == str(number)]
            assert last["cmd"] == "client|id"
            assert own.config_get("*appendfsync*").keys() == {"appendfsync", "no-appendfsync-on-rewrite"}
    assert cluster_client.dbsize() == 3


def test_rotation_keeps_the_slot(replica: Replica) -> None:
    """Rotation chooses a secret whose record is in the slot of the old one."""
    name, old = replica.issue()
    _, new = replica.rotate(name, "60")

    assert slot_of(replica.record(old)) == slot_of(replica.record(new))
    assert (replica.ask(old), replica.ask(new)) == (Verdict.ALLOWED, Verdict.ALLOWED)


def test_token_of_an_old_pepper(cluster_client: Any) -> None:
    """A token keeps the pepper that it was created with until it is rotated."""
    name, secret = Replica(cluster_client, "old").issue()
    replica = Replica(cluster_client, "new", "old")
    assert (replica.ask(secret), replica.ask(secret)) == (Verdict.ALLOWED, Verdict.ALLOWED)
    assert replica.catalog.count_old_peppers() == 1

    _, new = replica.rotate(name, "0")

    assert replica.catalog.count_old_peppers() == 0
    assert Replica(cluster_client, "new").ask(new) is Verdict.ALLOWED


class Move:
    """The slot of one token while it moves from one node to another."""

    def __init__(self, nodes: Nodes, replica: Replica, secret: str) -> None:
        self._nodes = nodes
        self.key = replica.record(secret)
        digest = replica.peppers.digest(secret)
        self.record, self.window, self.usage = keys.all_of(digest)
        self.source: Node = nodes.owner(self.key)
        self.target: Node = nodes.other(self.source)

    @property
    def refusals(self) -> int:
        """Return how often the two nodes have answered TRYAGAIN."""
        stats = [node.client().info("errorstats") for node in (self.source, self.target)]
        return sum(errors.get("errorstat_TRYAGAIN", {}).get("count", 0) for errors in stats)

    def begin(self) -> None:
        """Start the move."""
        self._nodes.begin_move(self.key, self.source, self.target)

    def carry(self, *names: str, replace: bool = False) -> None:
        """Move some of the keys; *replace* is what --cluster-replace of redis-cli does."""
        self._nodes.move_keys(self.source, self.target, *names, replace=replace)

    def end(self) -> None:
        """Give the slot to its new owner."""
        self._nodes.end_move(self.key, self.target)


def test_rate_limit_in_a_moving_slot(nodes: Nodes, replica: Replica) -> None:
    """A token keeps its one rate limit throughout a move, and gets no decision while its keys are split."""
    name, secret = replica.issue()
    verdicts = [replica.ask(secret)]
    move = Move(nodes, replica, secret)

    move.begin()
    verdicts.append(replica.ask(secret))
    move.carry(move.record)
    with pytest.raises(StoreUnavailableError):
        replica.ask(secret)
    move.carry(move.window, move.usage)
    verdicts.append(replica.ask(secret))
    move.end()
    verdicts.append(replica.ask(secret))

    assert verdicts == [Verdict.ALLOWED] * 3 + [Verdict.RATE_LIMITED]
    assert replica.catalog.find(name).hosts == ("a.test",)


def test_decision_waits_for_a_moving_slot(nodes: Nodes, cluster_client: Any) -> None:
    """A decision waits until its deadline for the remaining keys of a slot."""
    replica = Replica(cluster_client, "pepper", limit=Limit(3, 60))
    _, secret = replica.issue()
    replica.ask(secret)
    move = Move(nodes, replica, secret)
    move.begin()
    move.carry(move.record)

    before = move.refusals
    with ThreadPoolExecutor(1) as pool:
        decision = pool.submit(replica.ask, secret)
        until(lambda: move.refusals > before)
        move.carry(move.window, move.usage)
        move.end()
        assert decision.result() is Verdict.ALLOWED


def test_changes_in_a_moving_slot(nodes: Nodes, replica: Replica) -> None:
    """An edit and a delete follow a token to the node that its slot moves to."""
    name, secret = replica.issue()
    replica.ask(secret)
    move = Move(nodes, replica, secret)
    move.begin()
    move.carry(move.record, move.window, move.usage)

    replica.edit(name, {"comment": "moved"})
    assert replica.catalog.find(name).comment == "moved"
    replica.delete(name)
    move.end()

    assert replica.ask(secret) is Verdict.UNKNOWN_TOKEN


def test_expiry_marker_in_a_moving_slot(nodes: Nodes, replica: Replica) -> None:
    """While a slot moves, decisions, edits and deletes work on whichever node the expiry marker is."""
    name, secret = replica.issue(ttl_seconds="600")
    replica.ask(secret)
    marker = keys.ended(replica.peppers.digest(secret))
    move = Move(nodes, replica, secret)
    move.begin()
    move.carry(move.record, move.window, move.usage)

    assert replica.ask(secret) is Verdict.ALLOWED
    replica.edit(name, {"ttl_seconds": "900"})
    assert replica.ask(secret) is Verdict.ALLOWED
    replica.delete(name)
    move.carry(marker, replace=True)
    move.end()
    assert replica.ask(secret) is Verdict.UNKNOWN_TOKEN
