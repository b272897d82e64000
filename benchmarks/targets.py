"""The targets for the service beside its peers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from benchmarks import report
from benchmarks.lineup import BOUND, CONTENDERS, FASTAPI, GO_POOL, NGINX_LUA, SERVICE
from benchmarks.plan import ALONE, BEHIND, BEHIND_OTHERS, KEPT, NEW, Row
from benchmarks.proxies import TITLES, TRAEFIK
from benchmarks.report import Goal
from benchmarks.wrk import Sample


class Figure(NamedTuple):
    """A figure of a sample, and whether less of it is better."""

    title: str
    of: Callable[[Sample], float]
    unit: str
    at_most: bool


RATE = Figure("requests/s", lambda sample: sample.per_second, "/s", at_most=False)
CPU = Figure("CPU of the service per `/auth`", lambda sample: sample.server_us, " µs", at_most=True)
REDIS = Figure("CPU of Redis per `/auth`", lambda sample: sample.redis_us, " µs", at_most=True)
P50 = Figure("p50 of one caller", lambda sample: sample.p50_us, " µs", at_most=True)

# Which figure, in which row, against whom, and the target.
AGAINST: Iterable[tuple[Figure, Row, str, float]] = (
    (RATE, BEHIND, GO_POOL, 1.1),
    (RATE, BEHIND, NGINX_LUA, 1.0),
    (RATE, BEHIND, BOUND, 0.72),
    (RATE, BEHIND, FASTAPI, 2.5),
    (RATE, NEW, GO_POOL, 1.0),
    (RATE, KEPT, FASTAPI, 6),
    (CPU, KEPT, FASTAPI, 0.13),
    (REDIS, KEPT, FASTAPI, 1.0),
    (P50, ALONE, FASTAPI, 0.9),
)

# Which figure of ours, in which row, against which other row, and the target.
OURS: Iterable[tuple[Figure, Row, Row, float]] = (
    *((CPU, row, BEHIND, 1.2) for row in BEHIND_OTHERS.values()),
    (CPU, NEW, KEPT, 1.25),
)


def goals(results: Mapping[Row, Mapping[str, Sample]]) -> list[Goal]:
    """Return the targets for whatever was measured."""
    beside = [
        _goal(figure, results[row][SERVICE], results[row][other], _beside(figure, row, other), target)
        for figure, row, other, target in AGAINST
        if {SERVICE, other} <= results.get(row, {}).keys()
    ]
    return beside + [
        _goal(figure, results[row][SERVICE], results[base][SERVICE], _alone(figure, row, base), target)
        for figure, row, base, target in OURS
        if {row, base} <= results.keys()
    ]


def _goal(figure: Figure, ours: Sample, base: Sample, title: str, target: float) -> Goal:
    measured = f"{_number(figure.of(ours))} against {_number(figure.of(base))}{figure.unit}"
    ratio = figure.of(ours) / max(figure.of(base), 1e-9)
    fair = ours.is_fair and base.is_fair
    return Goal(title, measured, ratio, target, at_most=figure.at_most, is_fair=fair)


def _beside(figure: Figure, row: Row, other: str) -> str:
    return f"{figure.title}, {_lowered(row.title)}, against {CONTENDERS[other].title}"


def _alone(figure: Figure, row: Row, base: Row) -> str:
    if row.mode.proxy:
        return f"{figure.title} behind {TITLES[row.mode.proxy]}, against behind {TITLES[TRAEFIK]}"
    return f"{figure.title}, {_lowered(row.title)}, against {_lowered(base.title)}"


def _lowered(title: str) -> str:
    return title[0].lower() + title[1:]


def _number(value: float) -> str:
    return report.number(value) if value >= 1000 else f"{value:.1f}"  # noqa: PLR2004
