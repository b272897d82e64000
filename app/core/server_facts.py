"""The facts about a Redis server that an operator reads, whether or not anything is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from app.core.checkup import MIB, Server, number
from app.core.durability import Durability
from app.core.durations import distance

Info = Mapping[str, str]
_UNKNOWN = "unknown"
_DURABILITY = {
    Durability.NO_FILE: "there is no append-only file to hold a change",
    Durability.UNTOLD: "this Redis can't confirm that a change is on disk",
}
_CONFIRMED = "a change waits until Redis confirms that it is on disk"


def facts_of(server: Server, durability: Durability | None) -> Iterator[tuple[str, str]]:
    """Yield the name of each fact and the fact; nothing of a server that does not answer."""
    if server.unreachable:
        return
    for name, fact in FACTS.items() if server.info else ():
        yield name, fact(server.info or {})
    yield "Round trip", f"{server.trip_s * 1000:.1f} ms"
    if server.fsync:
        yield "appendfsync", server.fsync
    if durability:
        yield "Durability", _DURABILITY.get(durability, _CONFIRMED)


def _version(info: Info) -> str:
    is_valkey = "valkey_version" in info
    name, version = ("Valkey", info["valkey_version"]) if is_valkey else ("Redis", info.get("redis_version"))
    return f"{name} {version or _UNKNOWN}, started {distance(-number(info, 'uptime_in_seconds'))}"


def _append_only_file(info: Info) -> str:
    if info.get("aof_enabled") != "1":
        return "off"
    size = f", {number(info, 'aof_current_size') / MIB:.1f} MiB" if "aof_current_size" in info else ""
    return f"on, last write {info.get('aof_last_write_status', _UNKNOWN)}{size}"


def _snapshot(info: Info) -> str:
    status, changes = (
        info.get("rdb_last_bgsave_status", _UNKNOWN),
        info.get("rdb_changes_since_last_save", "?"),
    )
    return f"last one {status}, {changes} changes since"


def _memory(info: Info) -> str:
    used, limit = number(info, "used_memory"), number(info, "maxmemory")
    room = f" of {limit / MIB:.0f} MiB ({used * 100 // limit} %)" if limit else " MiB, no maxmemory"
    return f"{used / MIB:.1f}{room}, {info.get('maxmemory_policy', _UNKNOWN)}"


def _clients(info: Info) -> str:
    return f"{info.get('connected_clients', '?')} of at most {info.get('maxclients', '?')}"


def _replication(info: Info) -> str:
    if info.get("role") == "slave":
        return f"replica of {info.get('master_host', '?')}, link {info.get('master_link_status', _UNKNOWN)}"
    return f"primary, {number(info, 'connected_slaves')} replicas"


FACTS: Mapping[str, Callable[[Info], str]] = {
    "Version": _version,
    "Append-only file": _append_only_file,
    "Snapshot": _snapshot,
    "Memory": _memory,
    "Clients": _clients,
    "Replication": _replication,
}
