"""python -m benchmarks.scale [sizes…]: the service with a thousand tokens, and with a million."""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks import fill, lineup, report
from benchmarks.load import Load, Mode, Sample, loads, measure, medians
from benchmarks.report import Goal
from tests.harness import Connection, Gunicorn, RedisServer, bearer, forwarded

SIZES = (1_000, 100_000, 1_000_000)
PAGE_SIZE = 50
MODE = Mode(32)
ASKED_TOKENS = 1_000  # the same number at every size, so that only the size differs
ROUNDS, SECONDS = 5, 2
PAGE_TRIES = 7
PAGES_EVERY_S = 0.5  # an operator who turns pages quickly
FULL_TOKENS, DEFAULT_LIMIT = 100, 100


@dataclass(frozen=True)
class Stage:
    """A Redis with so many tokens, a service on it, and what an idle token took there."""

    size: int
    redis: RedisServer
    service: Gunicorn
    load: Load
    idle_bytes: float

    def sample(self) -> Sample:
        """Run the load once."""
        return measure(self.load, self.service.port, SECONDS, self.service.pid, self.redis.pid)


@dataclass(frozen=True)
class Scale:
    """What was seen with so many tokens."""

    size: int
    auth: Sample
    beside_pages: Sample
    pages_ms: Mapping[str, float]
    idle_bytes: float


def main() -> None:
    text = markdown(run(_options().sizes), full_token_bytes())
    Path(__file__).with_name("SCALE.md").write_text(text)
    print(text)


def run(sizes: Sequence[int]) -> list[Scale]:
    """Measure at every size, in turns."""
    with ExitStack() as stack:
        stages = [_stage(stack, size) for size in sizes]
        pages = [_pages_ms(stage) for stage in stages]
        alone = _in_turns(stages)
        with ExitStack() as readers:
            for stage in stages:
                readers.enter_context(_reader(stage))
            beside = _in_turns(stages)
        return [
            Scale(stage.size, auth, with_pages, pages_ms, stage.idle_bytes)
            for stage, auth, with_pages, pages_ms in zip(stages, alone, beside, pages, strict=True)
        ]


def _stage(stack: ExitStack, size: int) -> Stage:
    redis = stack.enter_context(RedisServer())
    before = _used_memory(redis)
    texts = fill.issue(redis.client(), min(size, ASKED_TOKENS))
    fill.fill(redis.client(), size - len(texts))
    idle_bytes = (_used_memory(redis) - before) / size
    load = stack.enter_context(loads([MODE], texts))[MODE]
    return Stage(size, redis, stack.enter_context(lineup.service(redis.port)), load, idle_bytes)


def _in_turns(stages: Sequence[Stage]) -> list[Sample]:
    rounds = [[stage.sample() for stage in stages] for _ in range(ROUNDS)]
    return [medians(samples) for samples in zip(*rounds, strict=True)]


def _pages_ms(stage: Stage) -> dict[str, float]:
    return {name: _page_ms(stage.service, target) for name, target in _targets(stage.size).items()}


def _targets(size: int) -> dict[str, str]:
    last = -(-size // PAGE_SIZE)
    return {"first": "/?page=1", "middle": f"/?page={(last + 1) // 2}", "last": f"/?page={last}"}


def _page_ms(service: Gunicorn, target: str) -> float:
    return median(_page_once_ms(service, target) for _ in range(PAGE_TRIES))


def _page_once_ms(service: Gunicorn, target: str) -> float:
    start = time.perf_counter()
    answer = service.page(target)
    assert answer.status == 200, f"{target}: {answer.status} {answer.text}"  # noqa: PLR2004
    return (time.perf_counter() - start) * 1000


@contextmanager
def _reader(stage: Stage) -> Iterator[None]:
    """Have somebody turn that stage's pages meanwhile."""
    over = threading.Event()
    thread = threading.Thread(target=_turn_pages, args=(stage, over))
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _turn_pages(stage: Stage, over: threading.Event) -> None:
    while True:
        for target in _targets(stage.size).values():
            if over.wait(PAGES_EVERY_S):
                return
            stage.service.page(target)


def full_token_bytes() -> float:
    """Return what a token's quota takes in Redis once it is used up, beside the token itself."""
    with RedisServer() as redis, lineup.service(redis.port, DEFAULT_LIMIT, window_s=60) as service:
        warm_up, *texts = fill.issue(redis.client(), FULL_TOKENS + 1)
        _use_up(service, warm_up)
        before = _used_memory(redis)
        for text in texts:
            _use_up(service, text)
        return float(_used_memory(redis) - before) / FULL_TOKENS


def _use_up(service: Gunicorn, text: str) -> None:
    with Connection(service.port) as connection:
        headers = [*forwarded(fill.HOST), *bearer(text)]
        statuses = [connection.call("/auth", headers).status for _ in range(DEFAULT_LIMIT + 1)]
    assert statuses == [200] * DEFAULT_LIMIT + [429], statuses


def _used_memory(redis: RedisServer) -> int:
    return int(redis.client().info("memory")["used_memory"])


def goals(scales: Sequence[Scale]) -> list[Goal]:
    """Return the rows of what must be reached, the largest size against the smallest."""
    least, most = scales[0], scales[-1]
    cost, slowest = (least.auth.server_us, most.auth.server_us), max(most.pages_ms.values())
    beside = (most.auth.p99_us, most.beside_pages.p99_us)
    at = f"at {report.number(most.size)} tokens"
    return [
        Goal(
            f"CPU per `/auth` {at}, against {report.number(least.size)}",
            f"{cost[1]:.1f} against {cost[0]:.1f} µs",
            cost[1] / cost[0],
            1.1,
            at_most=True,
        ),
        Goal(f"slowest admin page {at}", f"{slowest:.1f} ms", slowest, 150, at_most=True, unit=" ms"),
        Goal(
            f"`/auth` p99 beside admin pages {at}",
            f"{report.number(beside[1])} against {report.number(beside[0])} µs",
            beside[1] / beside[0],
            1.5,
            at_most=True,
        ),
        Goal(
            f"Redis memory per idle token {at}",
            f"{most.idle_bytes:.0f} bytes",
            most.idle_bytes,
            450,
            at_most=True,
            unit=" B",
        ),
    ]


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
    "bytes per idle token",
)


def markdown(scales: Sequence[Scale], full_bytes: float) -> str:
    """Return the page that SCALE.md holds."""
    how = f"`/auth` at 32 keep-alive connections, medians of {ROUNDS} interleaved rounds; {report.machine()}"
    rows = report.table(_HEAD, map(_row, scales))
    limit = f"A token that has used up a limit of {DEFAULT_LIMIT} takes {full_bytes:.0f} bytes more."
    table = report.table(report.GOALS_HEAD, (goal.row() for goal in goals(scales)))
    return f"# Scale\n\n{how}\n\n{rows}\n{limit}\n\n{table}"


def _row(scale: Scale) -> tuple[str, ...]:
    auth = scale.auth
    latencies = map(report.number, (auth.per_second, auth.p50_us, auth.p99_us, scale.beside_pages.p99_us))
    costs = (f"{auth.server_us:.1f}", f"{auth.redis_us:.1f}")
    pages = (f"{ms:.1f}" for ms in scale.pages_ms.values())
    return report.number(scale.size), *latencies, *costs, *pages, f"{scale.idle_bytes:.0f}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks.scale", description=__doc__)
    parser.add_argument("sizes", nargs="*", type=int, default=SIZES, help="how many tokens, rising")
    return parser.parse_args()


if __name__ == "__main__":
    main()
