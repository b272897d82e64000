"""The service beside its peers: the same requests to all of them, in turns."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from benchmarks import contract, lineup, proxies, report
from benchmarks.fill import Filler
from benchmarks.lineup import BOUND, CONTENDERS, SERVICE, Server, Terms
from benchmarks.plan import LONGER, Plan, Row
from benchmarks.proxies import Behind
from benchmarks.wrk import Meter, Mode, Sample, Wrk, measure, medians, prepared
from devkit.redis_server import RedisServer
from devkit.service import Gunicorn

TOKENS = 256
WARM_UP, WARM_UP_S = Mode(256), 1
DIRECT = ""

Results = Mapping[Row, Mapping[str, Sample]]


@dataclass(frozen=True)
class Runner:
    """A contender that runs: its process, and where it is reached, directly and through proxies."""

    pid: int
    places: Mapping[str, Behind]


@dataclass(frozen=True)
class Field:
    """All processes of a run, and the secrets of their tokens."""

    redis: RedisServer
    secrets: Sequence[str]
    runners: Mapping[str, Runner]

    def sample(self, wrk: Wrk, mode: Mode, name: str, seconds: int) -> Sample:
        """Measure one contender once."""
        runner = self.runners[name]
        place = runner.places[mode.proxy]
        return measure(wrk, place.port, seconds, Meter(runner.pid, self.redis, place.pid))


def excluded(names: Sequence[str]) -> dict[str, str]:
    """Return the contenders and proxies that cannot be measured here, or must not be, and why."""
    absent = {name: CONTENDERS[name].missing() for name in names} | {
        kind: proxies.missing(kind) for kind in proxies.TITLES
    }
    present = [name for name in names if not absent[name] and name != BOUND]
    failed = {name: "; ".join(contract.problems(CONTENDERS[name])) for name in present}
    return {name: reason for name, reason in (absent | failed).items() if reason}


def possible(plan: Plan, without: Mapping[str, str]) -> Plan:
    """Return what can be measured."""
    return {
        row: [name for name in names if name not in without]
        for row, names in plan.items()
        if row.mode.proxy not in without
    }


def run(plan: Plan, rounds: int, seconds: int) -> Results:
    """Measure all rows, those with the same number of workers interleaved."""
    results: dict[Row, Mapping[str, Sample]] = {}
    for workers in sorted({row.workers for row in plan}):
        part = {row: names for row, names in plan.items() if row.workers == workers}
        results |= _run(part, workers, rounds, seconds)
    return results


def _run(plan: Plan, workers: int, rounds: int, seconds: int) -> Results:
    samples: dict[tuple[Row, str], list[Sample]] = defaultdict(list)
    with ExitStack() as stack:
        field = _start(stack, plan, workers)
        by_mode = stack.enter_context(prepared([WARM_UP, *(row.mode for row in plan)], field.secrets))
        for runner in field.runners.values():
            by_mode[WARM_UP].run(runner.places[DIRECT].port, WARM_UP_S)  # to open all connections to Redis
        for row, name in _turns(plan, rounds):
            seconds_here = seconds if row in LONGER else 1
            samples[row, name].append(field.sample(by_mode[row.mode], row.mode, name, seconds_here))
    return {row: {name: medians(samples[row, name]) for name in names} for row, names in plan.items()}


def _turns(plan: Plan, rounds: int) -> Iterator[tuple[Row, str]]:
    for _ in range(rounds):
        for row, names in plan.items():
            yield from ((row, name) for name in names)


def _start(stack: ExitStack, plan: Plan, workers: int) -> Field:
    redis = stack.enter_context(RedisServer())
    terms = Terms(redis.port, workers)
    service = stack.enter_context(lineup.service(terms))
    secrets = Filler(redis.client(), service).issue(TOKENS)
    servers: dict[str, Server | Gunicorn] = {SERVICE: service}
    for name in {name for names in plan.values() for name in names} - {SERVICE}:
        servers[name] = CONTENDERS[name].start(terms)
        stack.enter_context(servers[name])
    places = _places(stack, plan, {name: server.port for name, server in servers.items()})
    return Field(redis, secrets, {name: Runner(s.pid, places[name]) for name, s in servers.items()})


def _places(stack: ExitStack, plan: Plan, ports: Mapping[str, int]) -> dict[str, dict[str, Behind]]:
    """Start the proxies, and return where each contender is reached."""
    places = {name: {DIRECT: Behind(port, 0)} for name, port in ports.items()}
    for kind in {row.mode.proxy for row in plan} - {DIRECT}:
        wanted = {name for row, names in plan.items() if row.mode.proxy == kind for name in names}
        for name, place in proxies.start(stack, {name: ports[name] for name in wanted}, kind).items():
            places[name][kind] = place
    return places


_HEAD = (
    *("", "requests/s", "p50 µs", "p99 µs", "p99.9 µs"),
    *("service CPU µs", "proxy CPU µs", "Redis CPU µs", "script µs", "not 200"),
)


def tables(results: Results) -> str:
    """Return a table for each row."""
    parts = []
    for row, samples in results.items():
        lines = [_line(CONTENDERS[name].title, sample) for name, sample in samples.items()]
        parts.append(f"## {row.title}\n\n{report.table(_HEAD, lines)}")
    return "\n".join(parts)


def _line(title: str, sample: Sample) -> tuple[str, ...]:
    *figures, failed = vars(sample).values()
    return title, *(_cell(figure) for figure in figures), f"{failed:.1%}" if failed else ""


def _cell(figure: float) -> str:
    return (report.number(figure) if figure >= 100 else f"{figure:.1f}") if figure else ""  # noqa: PLR2004
