"""python -m benchmarks.scale [sizes…]: the service with a thousand tokens, and with a million."""

from __future__ import annotations

import argparse
import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks import lineup, report
from benchmarks.fill import HOST, Filler
from benchmarks.full_token import DEFAULT_LIMIT, FullToken, full_token, used_memory
from benchmarks.load import Load, Mode, Sample, loads, measure, medians
from benchmarks.report import Goal
from devkit.redis_server import RedisServer
from devkit.service import Gunicorn

SIZES = (1_000, 100_000, 1_000_000)
PAGE_SIZE = 50
MODE = Mode(32)
ASKED_TOKENS = 1_000  # the same number at every size, so that only the size differs
ROUNDS, SECONDS = 5, 2
PAGE_TRIES = 7
PAGES_EVERY_S = 0.5  # an operator who turns pages quickly


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
    searched: int
    idle_bytes: float


def main() -> None:
    sizes = _options().sizes
    report.warn_if_busy()
    text = markdown(run(sizes), full_token())
    Path(__file__).with_name("SCALE.md").write_text(text)
    print(text)


def run(sizes: Sequence[int]) -> list[Scale]:
    """Measure at every size, in turns."""
    with ExitStack() as stack:
        stages = [_stage(stack, size) for size in sizes]
        pages = [_pages_ms(stage) for stage in stages]
        searched = [_searched(stage) for stage in stages]
        alone = _in_turns(stages)
        with ExitStack() as readers:
            for stage in stages:
                readers.enter_context(_reader(stage))
            beside = _in_turns(stages)
        return [
            Scale(stage.size, auth, with_pages, pages_ms, passed, stage.idle_bytes)
            for stage, auth, with_pages, pages_ms, passed in zip(
                stages, alone, beside, pages, searched, strict=True
            )
        ]


def _stage(stack: ExitStack, size: int) -> Stage:
    redis = stack.enter_context(RedisServer())
    service = stack.enter_context(lineup.service(redis.port))
    filler = Filler(redis.client(), service)
    filler.fill(1)  # the second token, after the model: so that the script is there, which takes memory too
    before = used_memory(redis)
    texts = filler.issue(min(size - 2, ASKED_TOKENS))
    filler.fill(size - len(texts) - 2)
    idle_bytes = (used_memory(redis) - before) / (size - 2)
    load = stack.enter_context(loads([MODE], texts))[MODE]
    return Stage(size, redis, service, load, idle_bytes)


def _in_turns(stages: Sequence[Stage]) -> list[Sample]:
    rounds = [[stage.sample() for stage in stages] for _ in range(ROUNDS)]
    return [medians(samples) for samples in zip(*rounds, strict=True)]


def _pages_ms(stage: Stage) -> dict[str, float]:
    return {name: _page_ms(stage.service, target) for name, target in _targets(stage.size).items()}


def _targets(size: int) -> dict[str, str]:
    last = -(-size // PAGE_SIZE)
    pages = {"first": "/?page=1", "middle": f"/?page={(last + 1) // 2}", "last": f"/?page={last}"}
    # An id is found at once; one host is that of all tokens, the other is looked for until a search gives up.
    return pages | {"id": "/?q=1", "host": f"/?q={HOST}", "no host": "/?q=nowhere.example"}


def _searched(stage: Stage) -> int:
    """Return how many tokens one search in vain has passed when it answers."""
    page = stage.service.page(_targets(stage.size)["no host"]).text
    passed = re.search(r"Searched the newest (\d+) of", page)
    return int(passed[1]) if passed else stage.size


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


def goals(scales: Sequence[Scale]) -> list[Goal]:
    """Return the rows of what must be reached, the largest size against the smallest."""
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


def markdown(scales: Sequence[Scale], full: FullToken) -> str:
    """Return the page that SCALE.md holds."""
    how = f"`/auth` at 32 keep-alive connections, medians of {ROUNDS} interleaved rounds; {report.machine()}"
    rows = report.table(_HEAD, map(_row, scales))
    parts = f"{full.window} for the times, {full.usage} for the counts of use"
    limit = f"A token that has used up a limit of {DEFAULT_LIMIT} takes {full.all:.0f} bytes more ({parts})."
    table = report.table(report.GOALS_HEAD, (goal.row() for goal in goals(scales)))
    return f"# Scale\n\n{how}\n\n{rows}\n{limit}\n\n{table}"


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


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks.scale", description=__doc__)
    parser.add_argument("sizes", nargs="*", type=int, default=SIZES, help="how many tokens, rising")
    return parser.parse_args()


if __name__ == "__main__":
    main()
