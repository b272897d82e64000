"""The tables and targets of benchmarks/scale.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks import report
from benchmarks.report import Goal
from benchmarks.wrk import Sample


@dataclass(frozen=True)
class Scale:
    """The figures at one number of tokens."""

    size: int
    auth: Sample
    beside_pages: Sample
    pages_ms: Mapping[str, float]
    searched: int
    idle_bytes: float


def goals(scales: Sequence[Scale]) -> list[Goal]:
    """Return the targets, for the largest size and against the smallest."""
    return [
        _cost_goal(scales[0], scales[-1]),
        _pages_goal(scales[-1]),
        _beside_goal(scales[-1]),
        _memory_goal(scales[-1]),
    ]


def _cost_goal(least: Scale, most: Scale) -> Goal:
    ours, base = most.auth, least.auth
    figure = f"CPU per `/auth` {_at(most)}, against {report.number(least.size)}"
    measured = f"{ours.server_us:.1f} against {base.server_us:.1f} µs"
    fair = ours.is_fair and base.is_fair
    return Goal(figure, measured, ours.server_us / base.server_us, 1.1, at_most=True, is_fair=fair)


def _pages_goal(scale: Scale) -> Goal:
    slowest = max(scale.pages_ms.values())
    return Goal(
        f"slowest admin page {_at(scale)}", f"{slowest:.1f} ms", slowest, 150, at_most=True, unit=" ms"
    )


def _beside_goal(scale: Scale) -> Goal:
    beside, alone = scale.beside_pages, scale.auth
    figure = f"`/auth` p99 beside admin pages {_at(scale)}"
    measured = f"{report.number(beside.p99_us)} against {report.number(alone.p99_us)} µs"
    fair = beside.is_fair and alone.is_fair
    return Goal(figure, measured, beside.p99_us / alone.p99_us, 1.5, at_most=True, is_fair=fair)


def _memory_goal(scale: Scale) -> Goal:
    size = scale.idle_bytes
    return Goal(
        f"Redis memory per idle token {_at(scale)}", f"{size:.0f} bytes", size, 450, at_most=True, unit=" B"
    )


def _at(scale: Scale) -> str:
    return f"at {report.number(scale.size)} tokens"


_HEAD = (
    "tokens",
    "requests/s",
    "p50 µs",
    "p99 µs",
    "p99 µs beside pages",
    "service CPU µs",
    "Redis CPU µs",
    "first page ms",
    "middle page ms",
    "last page ms",
    "search by id ms",
    "by host ms",
    "in vain ms",
    "tokens searched by then",
    "bytes per idle token",
)


def markdown(scales: Sequence[Scale], how: str) -> str:
    """Return the table."""
    how = f"`/auth` at 32 keep-alive connections, {how}."
    rows = report.table(_HEAD, map(_row, scales))
    return f"## Scale\n\n{how}\n\n{rows}"


def _row(scale: Scale) -> tuple[str, ...]:
    auth = scale.auth
    latencies = map(report.number, (auth.per_second, auth.p50_us, auth.p99_us, scale.beside_pages.p99_us))
    costs = (f"{auth.server_us:.1f}", f"{auth.redis_us:.1f}")
    pages = (f"{ms:.1f}" for ms in scale.pages_ms.values())
    return (
        report.number(scale.size),
        *latencies,
        *costs,
        *pages,
        report.number(scale.searched),
        f"{scale.idle_bytes:.0f}",
    )
