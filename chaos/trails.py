"""The audit log: kill -9 of Redis and of those who make changes, and then a comparison with the tokens."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import redis

from app.core.audit import Entry, Wanted, every
from app.core.errors import StoreUnavailableError
from app.core.tokens import Token
from app.store.transport.connection import connect
from chaos.report import Table
from devkit.builders import make_settings
from devkit.redis_server import RedisServer
from devkit.replica import Replica

COLUMNS = ("", "what is done", "what is promised", "figure")
_WRITERS = 3
_ROUNDS, _QUICK_ROUNDS = 200, 6


class Seen(NamedTuple):
    """What one round left behind: the tokens and entries, and how many tokens differ from their entries."""

    tokens: int
    entries: int
    differences: list[str]


def tables(quick: bool) -> list[Table]:  # noqa: FBT001 - a flag of the command line
    """Run the drill, once with Redis as the victim and once with the processes that make the changes."""
    rows: list[tuple[str, ...]] = []
    failures: list[str] = []
    for number, victim in enumerate(("Redis", "the writers"), 1):
        seen = [*_rounds(victim, _QUICK_ROUNDS if quick else _ROUNDS)]
        differences = [difference for each in seen for difference in each.differences]
        done = f"{len(seen)} times kill -9 of {victim}, while {_WRITERS} processes make changes"
        figure = f"{sum(each.entries for each in seen)} entries, {len(differences)} differences"
        rows.append((f"A0{number}", done, "tokens and entries agree", figure))
        failures += differences
    return [Table("Audit log", COLUMNS, rows, failures)]


def _rounds(victim: str, rounds: int) -> Iterator[Seen]:
    chance = random.Random(20261128)
    options = ["--appendfsync", "everysec"]
    for _ in range(rounds):
        with RedisServer(aof=True, options=options) as server:
            pids = [_fork(server.port, chance.random()) for _ in range(_WRITERS)]
            time.sleep(chance.uniform(0.05, 0.35))
            for pid in [server.pid] if victim == "Redis" else pids:
                os.kill(pid, signal.SIGKILL)
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            if victim == "Redis":
                server.kill()
                server.start()
            yield _compare(_replica(server.port))


def _fork(port: int, seed: float) -> int:
    """Return the id of a new process that makes changes until it is killed."""
    if pid := os.fork():
        return pid
    try:
        _make_changes(_replica(port), random.Random(seed))
    finally:
        os._exit(0)


def _replica(port: int) -> Replica:
    settings = make_settings(REDIS_PORT=port, REDIS_DEADLINE_MS=5000)
    return Replica(connect(settings, concurrent=False), "pepper")


def _make_changes(replica: Replica, chance: random.Random) -> None:
    names: list[str] = []
    try:
        while True:
            if len(names) < 3 or chance.random() < 0.1:
                names.append(replica.issue(comment="new")[0])
            _change(replica, names, chance)
    except (StoreUnavailableError, redis.RedisError, OSError):
        time.sleep(60)  # until it is killed


def _change(replica: Replica, names: list[str], chance: random.Random) -> None:
    name, what = chance.choice(names), chance.randrange(5)
    if what == 0:
        replica.delete(name)
        names.remove(name)
    elif what == 1:
        replica.rotate(name, chance.choice(["0", "60"]))
    elif what == 2:
        replica.enable(name, enabled=False)
        replica.enable(name, enabled=True)
    else:
        replica.edit(name, {"comment": f"{chance.random()}", "rate_limit_max": f"{chance.randrange(9)}"})


def _compare(replica: Replica) -> Seen:
    entries = [*every(replica.audit, Wanted())][::-1]
    told = _told(entries)
    tokens = {token.id: _facts(token) for token in replica.catalog.all_listed()}
    names = sorted(told.keys() | tokens.keys())
    differences = [
        f"{name}: {tokens.get(name)} in Redis, {told.get(name)} in the log"
        for name in names
        if told.get(name) != tokens.get(name)
    ]
    return Seen(len(tokens), len(entries), differences)


def _facts(token: Token) -> dict[str, Any]:
    return {
        "sha256": token.digest,
        "comment": token.comment,
        "rate_limit_max": token.rate_limit_max,
        "enabled": token.enabled,
    }


def _told(entries: list[Entry]) -> dict[str, dict[str, Any]]:
    """Return what the log tells of each token that exists."""
    told: dict[str, dict[str, Any]] = {}
    for entry in entries:
        new = {name: values[1] for name, values in entry.changes().items()}
        if entry.action == "create":
            told[entry.token_id] = {"comment": "", "rate_limit_max": None, "enabled": True}
        if entry.action == "delete":
            del told[entry.token_id]
        else:
            known = ("sha256", "comment", "rate_limit_max", "enabled")
            told[entry.token_id] |= {name: value for name, value in new.items() if name in known}
    return told
