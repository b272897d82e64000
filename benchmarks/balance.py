"""python -m benchmarks.balance: how two workers share the requests of few connections."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

from benchmarks import lineup, proxies, report
from benchmarks.fill import Filler
from benchmarks.lineup import SERVICE, Terms
from benchmarks.proxies import TRAEFIK
from benchmarks.report import TIMES, Goal, Part
from benchmarks.wrk import Mode, Wrk, per_second, prepared
from devkit.proc import cpu_us
from devkit.redis_server import RedisServer
from devkit.service import Gunicorn

WORKERS, TOKENS = 2, 64
MODES = [Mode(connections, proxy) for proxy in ("", TRAEFIK) for connections in (2, 4, 8, 16, 32)]
GOAL_CONNECTIONS = 16
ROUNDS, SECONDS = 5, 1
SHARED, OWN = "one socket", "`reuse_port`"
OPTIONS: Mapping[str, Mapping[str, str]] = {SHARED: {}, OWN: {"gunicorn_cmd_args": "--reuse-port"}}


class Split(NamedTuple):
    """The CPU time of the busiest worker divided by that of the idlest, and the rate."""

    ratio: float
    per_second: float


@dataclass(frozen=True)
class Stage:
    """A service with two workers, and where it is reached by the name of the proxy."""

    service: Gunicorn
    ports: Mapping[str, int]

    def split(self, wrk: Wrk, mode: Mode) -> Split:
        """Measure once, on new connections."""
        port, workers = self.ports[mode.proxy], self.service.workers
        wrk.check(port)
        before = [cpu_us(pid) for pid in workers]
        seen = wrk.run(port, SECONDS)
        used = [cpu_us(pid) - us for pid, us in zip(workers, before, strict=True)]
        tick_us = 10_000  # the resolution of these times
        return Split(max(used) / max(min(used), tick_us), per_second(seen))


Splits = Mapping[tuple[Mode, str], Sequence[Split]]


def main() -> None:
    report.warn_if_busy()
    report.publish("BALANCE", part())


def part() -> Part:
    """Measure it, and return the targets and the table."""
    splits = run()
    what = "CPU time of the busiest worker against that of the idlest: median, and worst in brackets"
    how = f"{WORKERS} workers, {ROUNDS} interleaved rounds of {SECONDS} s, each on new connections. {what}."
    rows = report.table(_HEAD, (_row(mode, splits) for mode in MODES))
    return Part(goals(splits), f"## Balance over workers\n\n{how}\n\n{rows}")


def run() -> Splits:
    """Measure both kinds of sockets with all numbers of connections, interleaved."""
    splits: dict[tuple[Mode, str], list[Split]] = defaultdict(list)
    with ExitStack() as stack:
        redis = stack.enter_context(RedisServer())
        stages = {kind: _stage(stack, redis, more) for kind, more in OPTIONS.items()}
        secrets = Filler(redis.client(), stages[SHARED].service).issue(TOKENS)
        wrks = stack.enter_context(prepared(MODES, secrets))
        for mode, kind in _turns():
            splits[mode, kind].append(stages[kind].split(wrks[mode], mode))
    return splits


def _turns() -> Iterator[tuple[Mode, str]]:
    return ((mode, kind) for _ in range(ROUNDS) for mode in MODES for kind in OPTIONS)


def _stage(stack: ExitStack, redis: RedisServer, more: Mapping[str, str]) -> Stage:
    service = stack.enter_context(lineup.service(Terms(redis.port, WORKERS), **more))
    behind = proxies.start(stack, {SERVICE: service.port}, TRAEFIK)[SERVICE]
    return Stage(service, {"": service.port, TRAEFIK: behind.port})


def goals(splits: Splits) -> list[Goal]:
    """Return the targets: no worker is idle beside a busy one."""
    modes = [mode for mode in MODES if mode.connections == GOAL_CONNECTIONS]
    return [_goal(mode, [split.ratio for split in splits[mode, SHARED]]) for mode in modes]


def _goal(mode: Mode, ratios: Sequence[float]) -> Goal:
    figure = f"CPU of the busier of {WORKERS} workers against the other, {mode.name}"
    return Goal(figure, f"at worst {max(ratios):.1f}{TIMES}", median(ratios), 2, at_most=True)


_HEAD = ("requests", *OPTIONS, *(f"requests/s, {kind}" for kind in OPTIONS))


def _row(mode: Mode, splits: Splits) -> tuple[str, ...]:
    by_kind = [splits[mode, kind] for kind in OPTIONS]
    ratios = [[split.ratio for split in each] for each in by_kind]
    shown = (f"{median(each):.1f}{TIMES} ({max(each):.1f}{TIMES})" for each in ratios)
    rates = (report.number(median(split.per_second for split in each)) for each in by_kind)
    return mode.title, *shown, *rates


if __name__ == "__main__":
    main()
