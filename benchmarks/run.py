"""python -m benchmarks.run [--quick]: the service beside its peers, as tables and a chart."""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks import lineup, report, restricted, scale, scale_report
from benchmarks.fill import Filler
from benchmarks.lineup import BOUND, FASTAPI, FLASK, SERVICE, TITLES
from benchmarks.report import Goal
from benchmarks.wrk import Mode, Sample, Wrk, measure, medians, prepared
from devkit.redis_server import RedisServer
from devkit.service import Gunicorn

HERE = Path(__file__).parent
TOKENS = 256
WARM_UP_S = 1

ALONE, KEPT, MANY = Mode(1), Mode(32), Mode(256)
NEW = Mode(32, keep_alive=False)
BEHIND = Mode(32, via_traefik=True)
QUICK = (ALONE, KEPT, MANY, NEW, BEHIND)
FULL = (*QUICK, Mode(1, via_traefik=True), Mode(256, via_traefik=True))

Results = Mapping[Mode, Mapping[str, Sample]]


@dataclass(frozen=True)
class Contender:
    """A service to compare: its process and its ports, direct and through Traefik."""

    name: str
    pid: int
    direct: int
    behind: int


@dataclass(frozen=True)
class Field:
    """All processes of a run, and the secrets of their tokens."""

    contenders: Sequence[Contender]
    redis: RedisServer
    secrets: Sequence[str]


def main() -> None:
    options = _options()
    report.warn_if_busy()
    modes, rounds, seconds = (QUICK, 2, 1) if options.quick else (FULL, 5, 3)
    results = run(modes, rounds, seconds)
    goals = _goals(results)
    if not options.quick:
        goals += restricted.goals(restricted.run())
        goals += scale_report.goals(scale.run(scale.SIZES))
    text = _markdown(results, goals, f"{rounds} rounds of {seconds} s, interleaved, medians")
    (HERE / "RESULTS.md").write_text(text)
    (HERE / "chart.svg").write_text(_chart(results))
    print(text)


def run(modes: Sequence[Mode], rounds: int, seconds: int) -> Results:
    """Measure all contenders in all modes, interleaved."""
    samples: dict[Mode, dict[str, list[Sample]]] = defaultdict(lambda: defaultdict(list))
    with ExitStack() as stack:
        field = _start(stack)
        by_mode = stack.enter_context(prepared(modes, field.secrets))
        for contender in field.contenders:
            by_mode[MANY].run(contender.direct, WARM_UP_S)  # to open all connections to Redis
        for mode in (mode for _ in range(rounds) for mode in modes):
            for contender in field.contenders:
                sample = _sample(field, contender, by_mode[mode], mode, seconds)
                samples[mode][contender.name].append(sample)
    return {mode: {name: medians(s) for name, s in by.items()} for mode, by in samples.items()}


def _sample(field: Field, contender: Contender, wrk: Wrk, mode: Mode, seconds: int) -> Sample:
    port = contender.behind if mode.via_traefik else contender.direct
    return measure(wrk, port, seconds, contender.pid, field.redis.pid)


def _start(stack: ExitStack) -> Field:
    redis = stack.enter_context(RedisServer())
    service = stack.enter_context(lineup.service(redis.port))
    secrets = Filler(redis.client(), service).issue(TOKENS)
    fastapi = stack.enter_context(lineup.FastApi(redis.port))
    flask = stack.enter_context(lineup.PlainFlask(redis.port))
    bound, backend = (stack.enter_context(lineup.Nginx()) for _ in range(2))
    servers: dict[str, Gunicorn | lineup.Server] = {
        SERVICE: service,
        FASTAPI: fastapi,
        FLASK: flask,
        BOUND: bound,
    }
    ports = {name: server.port for name, server in servers.items()}
    traefik = stack.enter_context(lineup.traefik(ports, backend.port))
    contenders = [Contender(name, s.pid, s.port, traefik.ports[name]) for name, s in servers.items()]
    return Field(contenders, redis, secrets)


def _goals(results: Results) -> list[Goal]:
    kept, behind, alone = results[KEPT], results[BEHIND], results[ALONE]
    return [
        _ratio("CPU per `/auth`, 32 keep-alive", _server_us, kept, FASTAPI, 0.25),
        _ratio("requests/s direct, 32 keep-alive", _per_second, kept, FASTAPI, 3.5),
        _ratio("requests/s through Traefik, 32", _per_second, behind, FASTAPI, 1.8),
        _ratio("requests/s through Traefik, 32", _per_second, behind, BOUND, 0.5),
        _ratio("p50 of one caller alone", _p50_us, alone, FASTAPI, 0.9),
        _redis_cpu(kept[SERVICE]),
    ]


def _ratio(
    figure: str, of: Callable[[Sample], float], samples: Mapping[str, Sample], other: str, target: float
) -> Goal:
    ours, theirs = of(samples[SERVICE]), of(samples[other])
    more_is_better = of is _per_second
    unit = "/s" if more_is_better else " µs"
    measured = f"{report.number(ours)} against {report.number(theirs)}{unit}"
    return Goal(
        f"{figure}, against {TITLES[other]}",
        measured,
        ours / theirs,
        target,
        at_most=not more_is_better,
        is_fair=samples[SERVICE].is_fair and samples[other].is_fair,
    )


def _redis_cpu(sample: Sample) -> Goal:
    figure, cost = "Redis CPU per `/auth`, 32 keep-alive", sample.redis_us
    return Goal(figure, f"{cost:.1f} µs", cost, 30, at_most=True, unit=" µs", is_fair=sample.is_fair)


def _server_us(sample: Sample) -> float:
    return sample.server_us


def _per_second(sample: Sample) -> float:
    return sample.per_second


def _p50_us(sample: Sample) -> float:
    return sample.p50_us


_HEAD = ("", "requests/s", "p50 µs", "p99 µs", "p99.9 µs", "server CPU µs", "Redis CPU µs", "not 200")


def _markdown(results: Results, goals: Sequence[Goal], how: str) -> str:
    parts = [f"# Benchmarks\n\n{how}; {report.machine()}\n"]
    parts.append(report.table(report.GOALS_HEAD, (goal.row() for goal in goals)))
    for mode, samples in results.items():
        rows = [_row(TITLES[name], sample) for name, sample in samples.items()]
        parts.append(f"## {mode.title}\n\n{report.table(_HEAD, rows)}")
    return "\n".join(parts)


def _row(title: str, sample: Sample) -> tuple[str, ...]:
    *figures, failed = vars(sample).values()
    return title, *map(report.number, figures), f"{failed:.1%}" if failed else ""


def _chart(results: Results) -> str:
    titles = {KEPT: "requests per second, direct", BEHIND: "requests per second, through Traefik"}
    groups = {
        title: {TITLES[name]: sample.per_second for name, sample in results[mode].items()}
        for mode, title in titles.items()
    }
    return report.chart(groups, TITLES[SERVICE])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks.run", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="under a minute, without the runs at scale")
    return parser.parse_args()


if __name__ == "__main__":
    main()
