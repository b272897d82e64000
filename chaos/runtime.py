"""The processes of the service: how they end, and what clients can do to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from chaos import clients, stops
from chaos.drill import COLUMNS, Row, Setup
from chaos.report import Table
from devkit.backend import Backend
from devkit.redis_server import RedisServer

Drill = Callable[[Setup], Iterator[Row]]
_QUICK: list[Drill] = [
    *(stops.rolling, stops.idle, stops.hung, stops.reload, stops.recycle, stops.crash),
    clients.slow,
]
_FULL: list[Drill] = [
    clients.too_many,
    clients.pacing,
    clients.hostile,
    clients.new_connections,
    clients.soak,
]


def tables(quick: bool) -> list[Table]:  # noqa: FBT001 - a flag of the command line
    """Run all drills, or with *quick* only some."""
    drills = _QUICK if quick else _QUICK + _FULL
    with RedisServer() as redis, Backend() as backend:
        rows = [row for drill in drills for row in drill(Setup(redis, backend, quick))]
    failures = [f"{row.name}: {row.broken}" for row in rows if row.broken]
    return [Table("Deploys, recycling, slow clients", COLUMNS, [row.cells() for row in rows], failures)]
