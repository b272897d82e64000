"""Gather the facts about Redis that ``flask doctor`` judges; nothing is written."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from importlib.resources import files
from typing import Any

from app.core.checkup import Checkup, Server
from app.core.errors import StoreUnavailableError
from app.store.pepper_check import WrongPepperError
from app.store.transport.cluster import Client, Cluster
from app.store.transport.commands import called, sample
from app.store.transport.deadlines import bounded
from app.store.transport.scripts import Script

_TRIPS = 3  # of which the shortest counts, because a busy machine makes any one of them long
_NAMED = re.compile(r"run the '([a-z|]+)' command")
# The commands that the store sends outside scripts; those whose arguments are no keys come with them.
SENT = (
    *("DBSIZE", "EXEC", "INFO", "MULTI", "PING", "TIME"),
    *("EVALSHA x 0", "EVAL x 0", "SCAN 0", "SELECT 0", "WAITAOF 1 0 0"),
    *(
        "DEL",
        "EXISTS",
        "GET",
        "GETRANGE",
        "HGET",
        "HGETALL",
        "LLEN",
        "PEXPIRETIME",
        "SADD",
        "SET",
        "SMEMBERS",
        "SREM",
    ),
    *("ZADD", "ZCARD", "ZCOUNT", "ZLEXCOUNT", "ZRANDMEMBER", "ZRANGE", "ZREM", "ZREMRANGEBYSCORE", "ZSCAN"),
)
# One key of each family, by the pattern that it needs.
_KEYS = {
    "~tokens:*": "tokens:doctor",
    "~{tokens:*": "{tokens:doctor}:window",
    "~acl:*": "acl:doctor",
    "~{acl:*": "{acl:doctor}:x",
}


class RedisCheckup:
    """Asks every server for its facts, each question within *deadline_s*."""

    def __init__(self, client: Client, deadline_s: float, decision_deadline_s: float) -> None:
        self._client: Any = client
        self._deadline_s = deadline_s
        self._decision_deadline_s = decision_deadline_s
        self._may = Script("may")

    def __call__(self, ping: Callable[[], None]) -> Checkup:
        """Return the facts, among them why no decision can be made if *ping* raises; never raises itself."""
        undecided, is_wrong = _undecided(ping)
        return Checkup(
            servers=tuple(self._servers()),
            sentinels_down=self._sentinels_down(),
            undecided=undecided,
            is_pepper_wrong=is_wrong,
            deadline_s=self._decision_deadline_s,
        )

    def _servers(self) -> Iterator[Server]:
        if not self._is_cluster:
            yield self._server("", self._client)
            return
        try:
            with bounded(self._deadline_s):
                addresses = self._client.slots.primaries()
        except StoreUnavailableError as error:
            yield Server(unreachable=str(error))
            return
        for address in addresses:
            yield self._server(f"{address.host}:{address.port}", self._client.at(address))

    def _server(self, name: str, client: Any) -> Server:
        try:
            with bounded(self._deadline_s):
                client.ping()
        except StoreUnavailableError as error:
            return Server(name=name, unreachable=str(error))
        trip_s, clock_s = self._timing(client)
        commands, patterns = self._denied(client)
        return Server(
            name=name,
            info=self._info(client),
            fsync=self._fsync(client),
            clock_s=clock_s,
            trip_s=trip_s,
            denied_commands=commands,
            denied_keys=patterns,
            is_cluster=self._is_cluster,
        )

    def _timing(self, client: Any) -> tuple[float, float]:
        """Return the duration of the shortest round trip, and how far the clock of the server is ahead."""
        trips = []
        with suppress(StoreUnavailableError):  # the user may not run TIME, which is found out elsewhere
            for _ in range(_TRIPS):
                with bounded(self._deadline_s):
                    trips.append(_trip(client))
        return min(trips, default=(0.0, 0.0))

    def _info(self, client: Any) -> dict[str, str] | None:
        """Return the fields of INFO as text; None if the user may not run it."""
        try:
            with bounded(self._deadline_s):
                return {name: str(value) for name, value in client.info().items()}
        except StoreUnavailableError:
            return None

    def _fsync(self, client: Any) -> str:
        """Return appendfsync; empty if the user, such as the shipped one, may not read the configuration."""
        with suppress(StoreUnavailableError), bounded(self._deadline_s):
            return str(client.config_get("appendfsync").get("appendfsync", ""))
        return ""

    def _denied(self, client: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the commands, and the patterns of the keys, to which the user has no right."""
        try:
            with bounded(self._deadline_s):
                patterns = self._refused(client, {pattern: f"GET {key}" for pattern, key in _KEYS.items()})
                key = next((key for pattern, key in _KEYS.items() if pattern not in patterns), "")
                commands = (
                    {line.split()[0]: _completed(line, key) for line in self._commands()} if key else {}
                )
                return self._refused(client, commands), patterns
        except StoreUnavailableError as error:
            return tuple(name.upper() for name in _NAMED.findall(str(error))), ()

    def _refused(self, client: Any, lines: Mapping[str, str]) -> tuple[str, ...]:
        replies = self._may.run(client, [], [*lines.values()])
        return tuple(name for name, reply in zip(lines, replies, strict=True) if reply == 0)

    def _commands(self) -> list[str]:
        on_cluster = ["CLUSTER INFO"] if self._is_cluster else []
        return sorted({*SENT, *scripted(), *on_cluster})

    @property
    def _is_cluster(self) -> bool:
        return isinstance(self._client, Cluster)

    def _sentinels_down(self) -> dict[str, str]:
        pool = None if self._is_cluster else self._client.connection_pool
        sentinels = pool and pool.connection_kwargs.get("sentinels")
        return sentinels.failures() if sentinels else {}


def _undecided(ping: Callable[[], None]) -> tuple[str, bool]:
    """Return why no decision can be made, empty if one can, and whether a wrong pepper is the reason."""
    try:
        ping()
    except StoreUnavailableError as error:
        return str(error), isinstance(error, WrongPepperError)
    return "", False


def _trip(client: Any) -> tuple[float, float]:
    before, began = time.time(), time.monotonic()
    seconds, us = client.time()
    trip_s = time.monotonic() - began
    return trip_s, seconds + us / 1_000_000 - before - trip_s / 2


def _completed(line: str, key: str) -> str:
    """Return a command with a key as each of its arguments, unless it has its arguments already."""
    return line if " " in line else sample(line, key)


def scripted() -> set[str]:
    """Return the commands that the scripts run."""
    scripts = [file for file in files("app.store").joinpath("lua").iterdir() if file.name.endswith(".lua")]
    return set().union(*(called(file.read_text("ascii")) for file in scripts))
