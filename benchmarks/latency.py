"""python -m benchmarks.latency [size]: /auth at half of the highest rate, alone and beside operators."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass

from benchmarks import lineup, operators, report
from benchmarks.at_rate import Latency, at_rate, highest_rate
from benchmarks.fill import Filler
from benchmarks.lineup import Terms
from benchmarks.report import TIMES, Goal, Part
from benchmarks.wrk import Mode, Wrk, medians, prepared
from devkit.redis_server import RedisServer
from devkit.service import Gunicorn

SIZE, DELETED, USED_TOKENS = 1_000_000, 10_000, 256
ROUNDS, SECONDS = 5, 4
MODE, BULK_EMAIL = Mode(32), "bulk@example.com"
ALONE = "nothing"


@dataclass(frozen=True)
class Stage:
    """A service with many tokens."""

    service: Gunicorn
    wrk: Wrk
    bulk: Filler
    size: int

    def beside(self) -> Mapping[str, Callable[[], AbstractContextManager[None]]]:
        """Return what happens meanwhile, by its name in the table."""
        return {
            ALONE: nullcontext,
            "admin pages": lambda: operators.pages(self.service, self.size),
            f"deleting {report.number(DELETED)} tokens": self._deletion,
            "an export": lambda: operators.export(self.service),
            "searches in vain": lambda: operators.searches(self.service),
            "SIGHUP": lambda: operators.restart(self.service),
        }

    def _deletion(self) -> AbstractContextManager[None]:
        self.bulk.fill(DELETED)
        return operators.deletion(self.service, BULK_EMAIL)


def main() -> None:
    report.warn_if_busy()
    report.publish("LATENCY", part(*map(int, sys.argv[1:])))


def part(size: int = SIZE) -> Part:
    """Measure it, and return the targets and the table."""
    per_second, found = run(size)
    rate = f"{report.number(per_second)}/s, half of the highest rate, with {report.number(size)} tokens"
    due = "Latencies count from the moment at which a request was due."
    how = f"`/auth` direct at {rate}; medians of {ROUNDS} interleaved rounds of {SECONDS} s. {due}"
    rows = report.table(_HEAD, (_row(name, one, found[ALONE]) for name, one in found.items()))
    return Part(goals(found), f"## Latency at half of the highest rate\n\n{how}\n\n{rows}")


def run(size: int) -> tuple[float, Mapping[str, Latency]]:
    """Return the rate and, by what happens beside, the latencies at it."""
    with ExitStack() as stack:
        stage = _stage(stack, size)
        per_second = highest_rate(stage.wrk, stage.service.port, SECONDS) / 2
        beside = stage.beside()
        rounds = [
            [_once(stage, meanwhile, per_second) for meanwhile in beside.values()] for _ in range(ROUNDS)
        ]
    return per_second, dict(zip(beside, map(medians, zip(*rounds, strict=True)), strict=True))


def _stage(stack: ExitStack, size: int) -> Stage:
    redis = stack.enter_context(RedisServer())
    service = stack.enter_context(lineup.service(Terms(redis.port)))
    filler = Filler(redis.client(), service)
    filler.fill(size - USED_TOKENS)
    wrk = stack.enter_context(prepared([MODE], filler.issue(USED_TOKENS)))[MODE]
    return Stage(service, wrk, Filler(redis.client(), service, email=BULK_EMAIL), size)


def _once(stage: Stage, meanwhile: Callable[[], AbstractContextManager[None]], per_second: float) -> Latency:
    with meanwhile():
        return at_rate(stage.wrk, stage.service.port, per_second, SECONDS)


def goals(found: Mapping[str, Latency]) -> list[Goal]:
    """Return the targets."""
    alone = found[ALONE]
    ms = alone.p99_us / 1000
    figure = "p99 of `/auth` direct, at half of the highest rate"
    first = Goal(figure, f"{ms:.2f} ms", ms, 3, at_most=True, unit=" ms", is_fair=not alone.refused)
    return [first, *(_goal(name, one, alone) for name, one in found.items() if name != ALONE)]


def _goal(name: str, one: Latency, alone: Latency) -> Goal:
    measured = f"{one.p99_us / 1000:.2f} against {alone.p99_us / 1000:.2f} ms"
    ratio, fair = one.p99_us / alone.p99_us, not one.refused + alone.refused
    return Goal(f"the same beside {name}", measured, ratio, 1.5, at_most=True, is_fair=fair)


_HEAD = (
    *("beside", "p50 ms", "p99 ms", "p99.9 ms", "p99 against alone"),
    *("client late, p99 ms", "not 200", "sent again"),
)


def _row(name: str, one: Latency, alone: Latency) -> tuple[str, ...]:
    latencies = (f"{us / 1000:.2f}" for us in (one.p50_us, one.p99_us, one.p999_us))
    ratio, lag = f"{one.p99_us / alone.p99_us:.2f}{TIMES}", f"{one.lag_us / 1000:.2f}"
    return name, *latencies, ratio, lag, f"{one.refused:.0f}", f"{one.repeated:.0f}"


if __name__ == "__main__":
    main()
