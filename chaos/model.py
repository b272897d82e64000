"""The whole gate compared with a model, in random walks that no other run repeats."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from secrets import token_hex
from typing import Any

import redis

from chaos.report import Table
from devkit.clock import StoppedClock
from devkit.gate_walk import DifferenceError, walk
from devkit.programs import demanded

COLUMNS = ("Redis", "steps", "requests", "of these allowed", "differences")


@contextmanager
def _one_server(clock: StoppedClock) -> Iterator[Any]:
    with clock.server() as server, redis.Redis(port=server.port, protocol=2) as client:
        yield client


@contextmanager
def _cluster(clock: StoppedClock) -> Iterator[Any]:
    with clock.nodes() as nodes:
        yield nodes.client()


def tables(quick: bool) -> list[Table]:  # noqa: FBT001 - a flag of the command line
    """Walk on one server and on a Cluster, and return one table."""
    demanded("faketime")
    demanded("redis-server")
    table = Table("Gate and model", COLUMNS)
    for name, run in (("one server", _one_server), ("Cluster", _cluster)):
        _compare(table, name, run, 1_000 if quick else 10_000)
    return [table]


def _compare(table: Table, name: str, run: Callable[[StoppedClock], Any], steps: int) -> None:
    seen, difference = Counter[str](), "none"
    with StoppedClock() as clock, run(clock) as client:
        try:
            seen = walk(client, clock, steps, token_hex(4))
        except DifferenceError as error:
            difference = "one"
            table.failures.append(f"{name}: {error}")
    table.rows.append((name, f"{steps}", f"{seen.total()}", f"{seen['allowed']}", difference))
