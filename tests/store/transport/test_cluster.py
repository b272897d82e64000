"""A Cluster: tokens of all slots, and slots that move while their tokens are used.

What a token does in its life is the same as on one server; the tests beside this one say so.
"""

from __future__ import annotations

import subprocess
import sys
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
from devkit.nodes import Node, Nodes
from devkit.ports import free_port
from devkit.process import ROOT
from devkit.replica import Replica
from devkit.waiting import until

IN_A_WORKER = """
from gevent import monkey; monkey.patch_all()
import sys, gevent
from app.store.transport.connection import connect, open_line
from app.store.transport.scripts import Script
from devkit.builders import make_settings

line = open_line(connect(make_settings(REDIS_URL=sys.argv[1], REDIS_DEADLINE_MS=5000)), drain_s=60)
assert line._lines == {}
take = Script("take")

def ask(number):
    names = [f"tokens:{number:064x}", "{tokens:%064x}:window" % number, "{tokens:%064x}:usage" % number]
    return take.run(line, names, [100, 60, "call"]) == [names[0].encode(), b"unknown_token", b"call"]

jobs = [gevent.spawn(ask, number) for number in range(2000)]
gevent.joinall(jobs, raise_error=True)
assert all(job.value for job in jobs)
"""


@pytest.fixture(name="replica")
def _replica(cluster_client: Any, monkeypatch: pytest.MonkeyPatch) -> Replica:
    """Return a replica that waits as long as a service for a slot that moves, on an empty Cluster."""
    monkeypatch.setattr(replicas, "DEADLINE_S", 0.25)
    return Replica(cluster_client, "pepper", limit=Limit(3, 60))


def test_one_connection_to_each_node(nodes: Nodes) -> None:
    """Two thousand decisions at once in all slots share three connections, and each gets its own reply."""
    subprocess.run([sys.executable, "-c", IN_A_WORKER, nodes.url], cwd=ROOT, timeout=100, check=True)
    before = [node.client().info("stats")["total_connections_received"] for node in nodes.all]
    subprocess.run([sys.executable, "-c", IN_A_WORKER, nodes.url], cwd=ROOT, timeout=100, check=True)
    after = [node.client().info("stats")["total_connections_received"] for node in nodes.all]

    assert [b - a for a, b in zip(before, after, strict=True)] in ([2, 2, 1], [2, 1, 1], [1, 2, 1])


def test_no_node_answers() -> None:
    """A client is made without a Cluster, and says what is wrong when it is used."""
    client = connect(make_settings(REDIS_URL=f"redis+cluster://127.0.0.1:{free_port()}"))

    with pytest.raises(StoreUnavailableError, match="no node of the Cluster answers"):
        Replica(client, "pepper").registry.page(1)


def test_server_that_is_no_cluster(real_client: Any) -> None:
    """A server on its own is refused by its own words."""
    port = real_client.connection_pool.connection_kwargs["port"]
    client = connect(make_settings(REDIS_URL=f"redis+cluster://127.0.0.1:{port}", REDIS_DEADLINE_MS=5000))

    with pytest.raises(StoreUnavailableError, match="cluster support disabled"):
        Replica(client, "pepper").check_health()


@pytest.mark.parametrize("coverage", ["yes", "no"])
def test_slot_that_nobody_serves(nodes: Nodes, replica: Replica, coverage: str) -> None:
    """A Cluster of which every node answers is not well unless all slots are served, whatever it says."""
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
    replica.check_health()


def test_pinned_connection(nodes: Nodes, cluster_client: Any) -> None:
    """What has no key is asked on the very connection of the command before, wherever that went."""
    for key in ("a", "b", "c"):
        with cluster_client.client() as own:
            own.set(key, 1)
            number = own.client_id()
            (last,) = [c for c in nodes.owner(key).client().client_list() if c["id"] == str(number)]
            assert last["cmd"] == "client|id"
            assert own.config_get("*appendfsync*").keys() == {"appendfsync", "no-appendfsync-on-rewrite"}
    assert cluster_client.dbsize() == 3


def test_rotation_keeps_the_slot(replica: Replica) -> None:
    """A new text is sought whose record lies beside the old one."""
    name, old = replica.issue()
    _, new = replica.registry.rotate(name, "60")

    assert slot_of(replica.record(old)) == slot_of(replica.record(new))
    assert (replica.ask(old), replica.ask(new)) == (Verdict.ALLOWED, Verdict.ALLOWED)


def test_old_pepper(cluster_client: Any) -> None:
    """A token stays under the pepper that it was made with, and moves to the new one when it is rotated."""
    name, text = Replica(cluster_client, "old").issue()
    replica = Replica(cluster_client, "new", "old")
    assert (replica.ask(text), replica.ask(text)) == (Verdict.ALLOWED, Verdict.ALLOWED)
    assert replica.registry.count_old_peppers() == 1

    _, new = replica.registry.rotate(name, "0")

    assert replica.registry.count_old_peppers() == 0
    assert Replica(cluster_client, "new").ask(new) is Verdict.ALLOWED


class Move:
    """The slot of one token on its way from one node to another."""

    def __init__(self, nodes: Nodes, replica: Replica, text: str) -> None:
        self._nodes = nodes
        self.key = replica.record(text)
        digest = replica.peppers.digest(text)
        self.record, self.window, self.usage = keys.all_of(digest)
        self.source: Node = nodes.owner(self.key)
        self.target: Node = nodes.other(self.source)

    @property
    def refusals(self) -> int:
        """Return how often the two nodes have said TRYAGAIN."""
        told = [node.client().info("errorstats") for node in (self.source, self.target)]
        return sum(errors.get("errorstat_TRYAGAIN", {}).get("count", 0) for errors in told)

    def begin(self) -> None:
        """Announce the move."""
        self._nodes.begin_move(self.key, self.source, self.target)

    def carry(self, *names: str) -> None:
        """Move some of the keys."""
        self._nodes.move_keys(self.source, self.target, *names)

    def end(self) -> None:
        """Give the slot to its new owner."""
        self._nodes.end_move(self.key, self.target)


def test_quota_of_a_slot_that_moves(nodes: Nodes, replica: Replica) -> None:
    """Through all of a move a token has its one quota, and where it can't be judged it is not."""
    name, text = replica.issue()
    verdicts = [replica.ask(text)]
    move = Move(nodes, replica, text)

    move.begin()
    verdicts.append(replica.ask(text))
    move.carry(move.record)
    with pytest.raises(StoreUnavailableError):
        replica.ask(text)
    move.carry(move.window, move.usage)
    verdicts.append(replica.ask(text))
    move.end()
    verdicts.append(replica.ask(text))

    assert verdicts == [Verdict.ALLOWED] * 3 + [Verdict.RATE_LIMITED]
    assert replica.registry.find(name).hosts == ("a.test",)


def test_slot_that_settles_amid_a_decision(nodes: Nodes, cluster_client: Any) -> None:
    """A decision waits, as long as it may, for a slot that is almost there."""
    replica = Replica(cluster_client, "pepper", limit=Limit(3, 60))
    _, text = replica.issue()
    replica.ask(text)
    move = Move(nodes, replica, text)
    move.begin()
    move.carry(move.record)

    before = move.refusals
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(replica.ask, text)
        until(lambda: move.refusals > before)
        move.carry(move.window, move.usage)
        move.end()
        assert asked.result() is Verdict.ALLOWED


def test_changes_to_a_slot_that_moves(nodes: Nodes, replica: Replica) -> None:
    """An edit and a delete follow a token that moves."""
    name, text = replica.issue()
    replica.ask(text)
    move = Move(nodes, replica, text)
    move.begin()
    move.carry(move.record, move.window, move.usage)

    replica.registry.edit(name, {"comment": "moved"})
    assert replica.registry.find(name).comment == "moved"
    replica.registry.delete(name)
    move.end()

    assert replica.ask(text) is Verdict.UNKNOWN_TOKEN


def test_word_of_an_end_in_a_slot_that_moves(nodes: Nodes, replica: Replica) -> None:
    """While a slot moves, a token is decided on, edited and deleted wherever the word of its end is."""
    name, text = replica.issue(ttl_seconds="600")
    replica.ask(text)
    word = keys.ended(replica.peppers.digest(text))
    move = Move(nodes, replica, text)
    move.begin()
    move.carry(move.record, move.window, move.usage)

    assert replica.ask(text) is Verdict.ALLOWED
    replica.registry.edit(name, {"ttl_seconds": "900"})
    assert replica.ask(text) is Verdict.ALLOWED
    replica.registry.delete(name)
    move.carry(word)
    move.end()
    assert replica.ask(text) is Verdict.UNKNOWN_TOKEN
