"""What is wrong with a Redis server, by the facts that the store has gathered about it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from app.core.findings import Finding, finding
from app.core.text import counted

OLDEST, CONFIRMING = (7, 0), (7, 2)
SAFE_POLICY = "noeviction"
_FULL_PERCENT = 90
_MAX_CLOCK_OFFSET_S = 2
MIB = 1024 * 1024
# Fields of INFO that say whether the last write of each kind succeeded.
_WRITES = {
    "aof_last_write_status": "write its append-only file",
    "aof_last_bgrewrite_status": "rewrite its append-only file",
    "rdb_last_bgsave_status": "save a snapshot",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """The facts about one server; *name* is its address in a Cluster, and empty for a single server.

    *info* holds the fields of INFO, and is None if the user may not run it. *fsync* is empty if it is not
    known. *clock_s* is how far its clock is ahead of the clock here.
    """

    name: str = ""
    unreachable: str = ""
    info: Mapping[str, str] | None = field(default_factory=dict)
    fsync: str = ""
    clock_s: float = 0
    trip_s: float = 0
    denied_commands: tuple[str, ...] = ()
    denied_keys: tuple[str, ...] = ()
    is_cluster: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkup:
    """The facts about all servers, and why no decision can be made, if that is so."""

    servers: tuple[Server, ...] = ()
    sentinels_down: Mapping[str, str] = field(default_factory=dict)
    undecided: str = ""
    is_pepper_wrong: bool = False
    deadline_s: float = 0


def findings_of(checkup: Checkup) -> Iterator[Finding]:
    """Yield what is wrong; a reason for which no decision can be made is given once."""
    found = [one for server in checkup.servers for one in _of_server(server, checkup.deadline_s)]
    yield from found
    for address, reason in checkup.sentinels_down.items():
        yield finding("redis-sentinel-down", address=address, reason=reason)
    if checkup.is_pepper_wrong:
        yield finding("pepper-wrong")
    elif checkup.undecided and not any(one.severity == "error" for one in found):
        yield finding("redis-undecided", reason=checkup.undecided)


def _of_server(server: Server, deadline_s: float) -> Iterator[Finding]:
    at = f" at {server.name}" if server.name else ""
    if server.unreachable:
        yield finding("redis-unreachable", server=at, reason=server.unreachable)
        return
    if server.denied_commands:
        yield finding("redis-right-missing", commands=", ".join(server.denied_commands), server=at)
    if server.denied_keys:
        yield finding("redis-key-denied", patterns=" ".join(server.denied_keys), server=at)
    yield from _timing(server, at, deadline_s)
    if server.info is None:
        yield finding("redis-info-denied", server=at)
        return
    yield from _version(server.info, at)
    yield from _persistence(server.info, server.fsync, at)
    yield from _memory(server.info, at)
    yield from _replication(server, server.info, at)


def _timing(server: Server, at: str, deadline_s: float) -> Iterator[Finding]:
    if abs(server.clock_s) > _MAX_CLOCK_OFFSET_S:
        direction = "ahead" if server.clock_s > 0 else "behind"
        yield finding("redis-clock", server=at, seconds=f"{abs(server.clock_s):.0f}", direction=direction)
    if server.trip_s > deadline_s / 2:
        trip_ms, deadline_ms = f"{server.trip_s * 1000:.0f}", f"{deadline_s * 1000:.0f}"
        yield finding("redis-far", server=at, trip_ms=trip_ms, deadline_ms=deadline_ms)


def _version(info: Mapping[str, str], at: str) -> Iterator[Finding]:
    if _release(info) < OLDEST:
        yield finding("redis-too-old", server=at, version=info["redis_version"])


def _release(info: Mapping[str, str]) -> tuple[int, int]:
    """Return the version as far as it decides what a server can do; the newest one if it is not known."""
    numbers = re.match(r"(\d+)\.(\d+)", info.get("redis_version", ""))
    return (int(numbers[1]), int(numbers[2])) if numbers else CONFIRMING


def _persistence(info: Mapping[str, str], fsync: str, at: str) -> Iterator[Finding]:
    if info.get("aof_enabled") == "0":
        yield finding("redis-aof-off", server=at)
    elif fsync == "no":
        yield finding("redis-fsync-off", server=at)
    elif fsync != "always" and OLDEST <= _release(info) < CONFIRMING:
        yield finding("redis-unconfirming", server=at, version=info["redis_version"])
    for name, action in _WRITES.items():
        if info.get(name, "ok") != "ok":
            yield finding("redis-write-failed", server=at, action=action)


def _memory(info: Mapping[str, str], at: str) -> Iterator[Finding]:
    policy = info.get("maxmemory_policy", SAFE_POLICY)
    if policy != SAFE_POLICY:
        yield finding("redis-evicts", server=at, policy=policy)
    used, limit = number(info, "used_memory"), number(info, "maxmemory")
    if limit and used * 100 >= limit * _FULL_PERCENT:
        shown = {"percent": used * 100 // limit, "used": used // MIB, "limit": limit // MIB}
        yield finding("redis-memory-low", server=at, **shown)


def _replication(server: Server, info: Mapping[str, str], at: str) -> Iterator[Finding]:
    if info.get("role") == "slave":
        yield finding("redis-is-replica", server=at)
    # INFO has min_slaves_good_slaves only if min-replicas-to-write is set. A node of a Cluster that is cut
    # off stops by itself.
    replicas = number(info, "connected_slaves")
    if replicas and "min_slaves_good_slaves" not in info and not server.is_cluster:
        yield finding("redis-replicas-unguarded", server=at, replicas=counted(replicas, "replica"))


def number(info: Mapping[str, str], name: str) -> int:
    """Return a field of INFO, 0 if it is missing or not a number."""
    text = info.get(name, "")
    return int(text) if text.isdecimal() else 0


def summary_of(checkup: Checkup) -> str:
    """Return one line about the servers for a report."""
    if len(checkup.servers) == 1:
        return _summary(checkup.servers[0])
    versions = {(server.info or {}).get("redis_version", "?") for server in checkup.servers}
    return f"{len(checkup.servers)} primaries, {', '.join(sorted(versions))}"


def _summary(server: Server) -> str:
    info = server.info
    if server.unreachable or not info:
        return "not inspected"
    limit = number(info, "maxmemory")
    room = f" of {limit // MIB} MiB" if limit else " MiB, no maxmemory"
    parts = [
        info.get("redis_version", "?"),
        f"append-only file {'on' if info.get('aof_enabled') == '1' else 'off'}",
        info.get("maxmemory_policy", "?"),
        f"{number(info, 'used_memory') / MIB:.1f}{room}",
        f"round trip {server.trip_s * 1000:.1f} ms",
    ]
    return ", ".join(parts)
