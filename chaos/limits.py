"""The rate limit: its edges, its memory and time in Redis, and changes of the clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import redis

from app.core.limits import MAX_REQUESTS, Limit
from app.core.verdicts import Decision, Verdict
from app.store import keys
from app.store.ledger import RedisLedger
from app.store.pepper_check import PepperCheck
from app.store.transport.scripts import Script
from chaos.report import Table
from devkit.builders import candidates
from devkit.redis_server import RedisServer

COLUMNS = ("", "what is done", "what is promised", "figure")
_DIGEST = "ab" * 32
_RECORD, _WINDOW = keys.record(_DIGEST), keys.window(_DIGEST)
_HOUR_US = 3_600_000_000
_ANY = (",*,", "", "", "")
_EXPIRED = -2  # since it was listed


class Row(NamedTuple):
    """The result of one drill, and whether the promise was kept."""

    name: str
    done: str
    promised: str
    figure: str
    kept: bool


class LimitedToken:
    """One token on a Redis of its own."""

    def __init__(self, client: Any, *, quick: bool) -> None:
        self.client, self.quick = client, quick
        self._pepper_check = PepperCheck(client, ["drill"])
        self.reset()

    def reset(self, **record: int) -> None:
        """Start again with an unused token."""
        self.client.flushall()
        self.client.hset(_RECORD, mapping={"hosts": "*"} | record)

    def take(self, limit: int, window_s: int = 1) -> Decision:
        """Take one permit."""
        return RedisLedger(self.client, self._pepper_check, Limit(limit, window_s), 2).take(
            [_DIGEST], candidates(hosts=["*"])
        )

    def admitted(self, limit: int, count: int, window_s: int = 1) -> int:
        """Return how many of *count* requests are allowed."""
        return sum(self.take(limit, window_s).verdict is Verdict.ALLOWED for _ in range(count))

    def burst(self, limit: int, count: int, window_s: int) -> int:
        """Return how many of *count* pipelined requests with an unused token are allowed."""
        self.take(limit, window_s)  # to load the script
        self.reset()
        pipe = self.client.pipeline(transaction=False)
        for _ in range(count):
            pipe.evalsha(Script("take").sha, 3, *keys.all_of(_DIGEST), limit, window_s, *_ANY, "the call")
        return [reply[1] for reply in pipe.execute()].count(b"allowed")

    def end_us(self, limit: int, window_s: int = 1) -> tuple[int, int]:
        """Return the earliest and latest time on Redis' clock at which the wait of a refused request ends."""
        before = self._now_us()
        refusal = self.take(limit, window_s).refusal
        assert refusal
        return before + refusal.wait_us, self._now_us() + refusal.wait_us

    def _now_us(self) -> int:
        seconds, microseconds = self.client.time()
        return int(seconds) * 1_000_000 + int(microseconds)

    def shift(self, us: int) -> None:
        """Advance Redis' clock by *us*, as a script sees it, by moving the stored times back."""
        times = [int(at) - us for at in self.client.lrange(_WINDOW, 0, -1)]
        self.client.pipeline().delete(_WINDOW).rpush(_WINDOW, *times).pexpire(_WINDOW, 10_000).execute()


def tables(quick: bool) -> list[Table]:  # noqa: FBT001 - a flag of the command line
    """Run all drills and return one table."""
    with RedisServer() as server, redis.Redis(port=server.port, protocol=2, decode_responses=False) as client:
        rows = [drill(LimitedToken(client, quick=quick)) for drill in _DRILLS]
    failures = [f"{row.name}: {row.promised}, but {row.figure}" for row in rows if not row.kept]
    return [Table("Rate limit", COLUMNS, [row[:4] for row in rows], failures)]


def _boundary(token: LimitedToken) -> Row:
    """Send requests without a pause for several windows, and find the densest one."""
    limit, times = 100, list[int]()
    end = time.monotonic() + (3.5 if token.quick else 10.5)
    while time.monotonic() < end:
        if token.take(limit).verdict is Verdict.ALLOWED:
            times.append(int(token.client.lindex(_WINDOW, 0)))
    most = max(sum(at <= other < at + 1_000_000 for other in times) for at in times)
    figure = f"{most} in the densest second of {len(times)} let in"
    return Row("L04", f"{limit}/s, asked without a pause", "at most 100 in any second", figure, most <= limit)


def _denials(token: LimitedToken) -> Row:
    token.admitted(50, 50, 3_600)
    first, first_at_most = token.end_us(50, 3_600)
    refused = token.admitted(50, 500, 3_600)
    last_at_least, last = token.end_us(50, 3_600)
    drift_ms = max(0, last_at_least - first_at_most, first - last) / 1000
    figure = f"the end of the wait moved by {drift_ms:.1f} ms"
    is_kept = not refused and not drift_ms
    return Row("L05", "50/hour used up, then 500 refusals", "refusals cost nothing", figure, is_kept)


def _extremes(token: LimitedToken) -> Row:
    single = token.admitted(1, 20, 3_600)
    token.reset()
    most = token.burst(MAX_REQUESTS, MAX_REQUESTS + 50, 86_400)
    token.reset()
    unlimited = token.admitted(0, 2_000)
    kept = (single, most, unlimited) == (1, MAX_REQUESTS, 2_000) and not token.client.exists(_WINDOW)
    figure = f"{single}, {most} and {unlimited} let in"
    return Row("L07", "1/hour; 10 000/day; unlimited", "1, 10 000 and all", figure, kept)


def _lifetimes(token: LimitedToken) -> Row:
    """Check the TTL of every window after each request, even after a script has failed midway."""
    seen = []
    for number in range(300):
        if number % 10 == 0:
            token.client.hset(_RECORD, "rate_limit_window_sec", "nan" if number % 20 else 2)
        try:
            token.take(20, 2)
        except Exception:  # noqa: BLE001 - any error is possible with a broken record
            token.client.hset(_RECORD, "rate_limit_window_sec", 2)
        seen += [
            left for key in token.client.keys("*:window") if (left := token.client.pttl(key)) != _EXPIRED
        ]
    figure = f"{min(seen)} to {max(seen)} ms, {len(seen)} looks"
    kept = min(seen) > 0 and max(seen) <= 2_000
    return Row("L09", "2 s window, records broken now and then", "lifetime in (0, 2 s]", figure, kept)


def _edits(token: LimitedToken) -> Row:
    first = token.admitted(10, 20, 60)
    token.client.hset(_RECORD, "rate_limit_max", 15)
    raised = token.admitted(10, 20, 60)
    token.client.hset(_RECORD, "rate_limit_max", 5)
    lowered = token.admitted(10, 20, 60)
    figure = f"{first}, {raised} more, {lowered} more"
    kept = (first, raised, lowered) == (10, 5, 0)
    return Row("L10", "10/min, edited to 15, then to 5", "10, 5 more, none", figure, kept)


def _bursts(token: LimitedToken) -> Row:
    asked = 5_000 if token.quick else 20_000
    admitted = token.burst(1_000, asked, 60)
    times = sorted(int(at) for at in token.client.lrange(_WINDOW, 0, -1))
    gap = min(later - earlier for earlier, later in pairwise(times))
    figure = f"{admitted}, as near as {gap} µs to one another"
    done = f"1 000/min, {asked} at once in a pipeline"
    return Row("L11", done, "exactly 1 000", figure, admitted == 1_000)


def _memory(token: LimitedToken) -> Row:
    token.burst(MAX_REQUESTS, MAX_REQUESTS, 86_400)
    used = token.client.memory_usage(_WINDOW, samples=0)
    figure = f"{used / 1000:.0f} kB"
    return Row("L12", "the times of 10 000 requests", "at most 150 kB", figure, used <= 150_000)


def _script_time(token: LimitedToken) -> Row:
    token.client.config_resetstat()
    for _ in range(1_000):
        token.client.eval("return 1", 0)
    nothing_us = token.client.info("latencystats")["latency_percentiles_usec_eval"]["p50"]
    token.admitted(100, 200)
    token.client.config_resetstat()
    token.admitted(100, 1_000 if token.quick else 20_000)
    latency = token.client.info("latencystats")["latency_percentiles_usec_evalsha"]
    figure = f"p50 {latency['p50']:.0f} µs, p99 {latency['p99']:.0f} µs, p99.9 {latency['p99.9']:.0f} µs"
    return Row(
        "L13",
        "100/s, mostly refused; INFO latencystats",
        "half below 100 µs in Redis",
        figure,
        latency["p50"]
        < max(100, 50 * nothing_us),  # because a slow machine takes longer for an empty script too
    )


def _clock(token: LimitedToken) -> Row:
    token.admitted(10, 10, 60)
    token.shift(_HOUR_US)
    forward = token.admitted(10, 20, 60)
    token.reset()
    token.admitted(10, 10, 60)
    token.shift(-_HOUR_US)
    back = token.admitted(10, 20, 60)
    figure = f"{forward} and {back} let in at once, no lockout"
    kept = (forward, back) == (10, 10)
    return Row("D24", "clock an hour ahead, an hour back", "at most one window more", figure, kept)


_DRILLS: list[Callable[[LimitedToken], Row]] = [
    _boundary,
    _denials,
    _extremes,
    _lifetimes,
    _edits,
    _bursts,
    _memory,
    _script_time,
    _clock,
]
