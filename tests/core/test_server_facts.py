"""What the overview says of a Redis server."""

from __future__ import annotations

from app.core.checkup import Server
from app.core.durability import Durability
from app.core.server_facts import facts_of

INFO = {
    "redis_version": "7.2.4",
    "valkey_version": "8.1.1",
    "uptime_in_seconds": "200000",
    "aof_enabled": "1",
    "aof_last_write_status": "ok",
    "aof_current_size": "3145728",
    "rdb_last_bgsave_status": "err",
    "rdb_changes_since_last_save": "7",
    "used_memory": "33554432",
    "maxmemory": "67108864",
    "maxmemory_policy": "noeviction",
    "connected_clients": "12",
    "maxclients": "10000",
    "role": "master",
    "connected_slaves": "2",
}


def test_facts() -> None:
    """Each fact is a sentence's worth of text."""
    found = dict(facts_of(Server(info=INFO, fsync="everysec", trip_s=0.0012), Durability.UNTOLD))
    assert found == {
        "Version": "Valkey 8.1.1, started 2 days ago",
        "Append-only file": "on, last write ok, 3.0 MiB",
        "Snapshot": "last one err, 7 changes since",
        "Memory": "32.0 of 64 MiB (50 %), noeviction",
        "Clients": "12 of at most 10000",
        "Replication": "primary, 2 replicas",
        "Round trip": "1.2 ms",
        "appendfsync": "everysec",
        "Durability": "this Redis can't confirm that a change is on disk",
    }


def test_facts_that_are_missing() -> None:
    """A server that tells nothing, a replica, and one that does not answer have what there is to say."""
    assert dict(facts_of(Server(info=None), None)) == {"Round trip": "0.0 ms"}
    replica = dict(facts_of(Server(info={"role": "slave", "master_host": "10.0.0.1"}), Durability.CONFIRMED))
    assert replica["Replication"] == "replica of 10.0.0.1, link unknown"
    assert replica["Version"].startswith("Redis unknown")
    assert replica["Durability"] == "a change waits until Redis confirms that it is on disk"
    assert [*facts_of(Server(unreachable="no route"), None)] == []
