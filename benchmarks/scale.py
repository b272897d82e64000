"""python -m benchmarks.scale [sizes…]: the service with a thousand tokens, and with a million."""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median

from benchmarks import lineup, operators, report, scale_report
from benchmarks.fill import Filler
from benchmarks.lineup import Terms
from benchmarks.memory import used_memory
from benchmarks.report import Part
from benchmarks.scale_report import Scale
from benchmarks.wrk import Meter, Mode, Sample, Wrk, measure, medians, prepared
from devkit.redis_server import RedisServer
from devkit.service import Gunicorn

SIZES = (1_000, 100_000, 1_000_000)
MODE = Mode(32)
USED_TOKENS = 1_000  # the same number at every size, so that only the size differs
ROUNDS, SECONDS = 5, 2
PAGE_TRIES = 7


@dataclass(frozen=True)
class Stage:
    """A Redis with *size* tokens, its service, and the memory of an idle token there."""

    size: int
    redis: RedisServer
    service: Gunicorn
    wrk: Wrk
    idle_bytes: float

    def sample(self) -> Sample:
        """Measure once."""
        return measure(self.wrk, self.service.port, SECONDS, Meter(self.service.pid, self.redis))


def main() -> None:
    sizes = _options().sizes
    report.warn_if_busy()
    report.publish("SCALE", part(sizes))


def part(sizes: Sequence[int] = SIZES) -> Part:
    """Measure it, and return the targets and the table."""
    scales = run(sizes)
    how = f"medians of {ROUNDS} interleaved rounds"
    return Part(scale_report.goals(scales), scale_report.markdown(scales, how))


def run(sizes: Sequence[int]) -> list[Scale]:
    """Measure all sizes, interleaved."""
    with ExitStack() as stack:
        stages = [_stage(stack, size) for size in sizes]
        pages = [_pages_ms(stage) for stage in stages]
        searched = [_searched(stage) for stage in stages]
        alone = _in_turns(stages)
        with ExitStack() as busy:
            for stage in stages:
                busy.enter_context(operators.pages(stage.service, stage.size))
            beside = _in_turns(stages)
        return [
            Scale(stage.size, auth, with_pages, pages_ms, passed, stage.idle_bytes)
            for stage, auth, with_pages, pages_ms, passed in zip(
                stages, alone, beside, pages, searched, strict=True
            )
        ]


def _stage(stack: ExitStack, size: int) -> Stage:
    redis = stack.enter_context(RedisServer())
    service = stack.enter_context(lineup.service(Terms(redis.port)))
    filler = Filler(redis.client(), service)
    filler.fill(1)  # so that the script, which takes memory too, is loaded before
    before = used_memory(redis)
    secrets = filler.issue(min(size - 2, USED_TOKENS))
    filler.fill(size - len(secrets) - 2)
    idle_bytes = (used_memory(redis) - before) / (size - 2)
    wrk = stack.enter_context(prepared([MODE], secrets))[MODE]
    return Stage(size, redis, service, wrk, idle_bytes)


def _in_turns(stages: Sequence[Stage]) -> list[Sample]:
    rounds = [[stage.sample() for stage in stages] for _ in range(ROUNDS)]
    return [medians(samples) for samples in zip(*rounds, strict=True)]


def _pages_ms(stage: Stage) -> dict[str, float]:
    return {name: _page_ms(stage.service, target) for name, target in operators.targets(stage.size).items()}


def _searched(stage: Stage) -> int:
    """Return how many tokens a search without matches examines before it answers."""
    page = stage.service.page(operators.targets(stage.size)["no host"]).text
    match = re.search(r"Searched the newest (\d+) of", page)
    return int(match[1]) if match else stage.size


def _page_ms(service: Gunicorn, target: str) -> float:
    return median(_page_once_ms(service, target) for _ in range(PAGE_TRIES))


def _page_once_ms(service: Gunicorn, target: str) -> float:
    start = time.perf_counter()
    answer = service.page(target)
    assert answer.status == 200, f"{target}: {answer.status} {answer.text}"  # noqa: PLR2004
    return (time.perf_counter() - start) * 1000


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks.scale", description=__doc__)
    parser.add_argument("sizes", nargs="*", type=int, default=SIZES, help="how many tokens, rising")
    return parser.parse_args()


if __name__ == "__main__":
    main()
