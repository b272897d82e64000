"""Mix-ups of answers: each caller must get its own, whatever the network does to the bytes from Redis."""

from __future__ import annotations

import json
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from chaos.report import Table
from devkit.process import run_module
from devkit.redis_server import RedisServer
from devkit.relay import Relay

COMPLETED, COMPLETED_QUICK = 40_000, 600  # of each harm
SPACING_BYTES = 4096
MOST_BYTES = 64
SEED = 1


@dataclass(frozen=True)
class Harm:
    """A kind of damage besides splitting and delaying, with the odds for each chunk."""

    name: str
    cut: float = 0
    drop: float = 0
    repeat: float = 0


HARMS = (
    Harm("split, delayed"),
    Harm("and connections cut", cut=0.01),
    Harm("and bytes dropped", drop=0.02),
    Harm("and bytes repeated", repeat=0.02),
    Harm("all of it", cut=0.005, drop=0.01, repeat=0.01),
)


class Spoiler:
    """Damages one direction of one connection.

    Two losses or repetitions are at least SPACING_BYTES apart, which is more than one answer: two in the same
    field could cancel out in its length, and only TLS detects changed bytes of the right length.
    """

    def __init__(self, harm: Harm, rng: random.Random, done: Counter[str]) -> None:
        self._harm = harm
        self._random = rng
        self._done = done
        self._since = 0

    def __call__(self, chunk: bytes) -> Iterator[tuple[float, bytes]]:
        """Yield pauses and pieces that replace *chunk*."""
        self._since += len(chunk)
        if self._happens("cut", self._harm.cut):
            raise ConnectionError
        if self._since > SPACING_BYTES:
            chunk = self._harmed(chunk)
        for piece in self._pieces(chunk):
            self._done["pieces"] += 1
            yield self._random.choice((0, 0, 0, 0.0005, 0.002)), piece

    def _harmed(self, chunk: bytes) -> bytes:
        """Drop or repeat some consecutive bytes, or all of them."""
        at = self._random.randrange(len(chunk))
        end = at + self._random.randint(1, MOST_BYTES)
        if self._random.random() < 0.5:
            at, end = 0, len(chunk)
        if self._happens("drop", self._harm.drop):
            return chunk[:at] + chunk[end:]
        if self._happens("repeat", self._harm.repeat):
            return chunk[:end] + chunk[at:]
        return chunk

    def _happens(self, what: str, odds: float) -> bool:
        if self._random.random() >= odds:
            return False
        self._done[what] += 1
        self._since = 0
        return True

    def _pieces(self, chunk: bytes) -> Iterator[bytes]:
        at = 0
        while at < len(chunk):
            size = self._random.choice((1, 3, 16, 500, 5000))
            yield chunk[at : at + size]
            at += size


def tables(quick: bool) -> list[Table]:  # noqa: FBT001 - a flag of the command line
    """Try each kind of damage."""
    table = Table("Mix-ups of answers", ("between service and Redis", *_COLUMNS))
    for seed, harm in enumerate(HARMS, SEED):
        print(harm.name, file=sys.stderr, flush=True)
        row, broken = _try_out(harm, COMPLETED_QUICK if quick else COMPLETED, seed)
        table.rows.append(row)
        table.failures.extend(broken)
    return [table]


_COLUMNS = (
    "completed calls",
    "not their own answer",
    "503",
    "callers killed",
    "pieces",
    "cuts",
    "dropped",
    "repeated",
    "connections",
    "seconds",
)


def _try_out(harm: Harm, goal: int, seed: int) -> tuple[tuple[str, ...], list[str]]:
    rng, done = random.Random(seed), Counter[str]()
    began = time.monotonic()
    with RedisServer() as server, Relay(server.port, lambda: Spoiler(harm, rng, done)) as relay:
        counted = _run_callers(server.port, relay.port, goal, seed)
    figures = (counted["completed"], counted["mixed_up"], counted["refused"], counted["killed"])
    harms = (done["pieces"], done["cut"], done["drop"], done["repeat"], relay.accepted)
    row = (harm.name, *map(str, (*figures, *harms)), f"{time.monotonic() - began:.0f}")
    return row, list(_broken(harm, counted, goal))


def _run_callers(direct: int, relayed: int, goal: int, seed: int) -> dict[str, Any]:
    counted: dict[str, Any] = json.loads(
        run_module("chaos.callers", direct, relayed, goal, seed, timeout_s=600)
    )
    return counted


def _broken(harm: Harm, counted: dict[str, Any], goal: int) -> Iterator[str]:
    if counted["mixed_up"]:
        yield f"{harm.name}: {counted['mixed_up']} wrong answers, such as {counted['examples']}"
    if counted["completed"] < goal:
        yield f"{harm.name}: only {counted['completed']} of {goal} calls were completed"
