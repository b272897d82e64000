"""L: the rate limit at its edges, its memory and its time in Redis, and a clock that is set."""

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
from app.store.pepper_check import Canary
from app.store.transport.scripts import Script
from chaos.report import Table
from devkit.redis_server import RedisServer

COLUMNS = ("", "what is done", "what is promised", "figure")
_DIGEST = "ab" * 32
_RECORD, _WINDOW = keys.record(_DIGEST), keys.window(_DIGEST)
_HOUR_US = 3_600_000_000
_ANY = ("hosts", "wrong_host", ",*,")
_GONE = -2  # expired since it was listed


class Row(NamedTuple):
    """What one drill found, and whether that is as promised."""

    name: str
    done: str
    promised: str
    figure: str
    kept: bool


class Place:
    """One token on a server of its own."""

    def __init__(self, client: Any, *, quick: bool) -> None:
        self.client, self.quick = client, quick
        self._canary = Canary(client, ["drill"])
        self.fresh()

    def fresh(self, **record: int) -> None:
        """Begin again with a token that nobody has used."""
        self.client.flushall()
        self.client.hset(_RECORD, mapping={"hosts": "*"} | record)

    def take(self, limit: int, window_s: int = 1) -> Decision:
        """Ask for one permit."""
        return RedisLedger(self.client, self._canary, Limit(limit, window_s), 2).take([_DIGEST], [("*",)])

    def admitted(self, limit: int, asked: int, window_s: int = 1) -> int:
        """Return how many of *asked* requests are let in."""
        return sum(self.take(limit, window_s).verdict is Verdict.ALLOWED for _ in range(asked))

    def burst(self, limit: int, asked: int, window_s: int) -> int:
        """Ask *asked* times at once, from the beginning; return how many requests are let in."""
        self.take(limit, window_s)  # Redis learns the script
        self.fresh()
        pipe = self.client.pipeline(transaction=False)
        for _ in range(asked):
            pipe.evalsha(Script("take").sha, 3, *keys.all_of(_DIGEST), limit, window_s, *_ANY, "the call")
        return [said[1] for said in pipe.execute()].count(b"allowed")

    def end_us(self, limit: int, window_s: int = 1) -> tuple[int, int]:
        """Return between which times by Redis' clock the wait ends that a refused request is told."""
        before = self._now_us()
        refusal = self.take(limit, window_s).refusal
        assert refusal
        return before + refusal.wait_us, self._now_us() + refusal.wait_us

    def _now_us(self) -> int:
        seconds, microseconds = self.client.time()
        return int(seconds) * 1_000_000 + int(microseconds)

    def shift(self, us: int) -> None:
        """Set Redis' clock by *us*, as far as a script can tell: move what it remembers the other way."""
        times = [int(at) - us for at in self.client.lrange(_WINDOW, 0, -1)]
        self.client.pipeline().delete(_WINDOW).rpush(_WINDOW, *times).pexpire(_WINDOW, 10_000).execute()


def tables(quick: bool) -> list[Table]:  # noqa: FBT001
    """Run all drills and return one table."""
    with RedisServer() as server, redis.Redis(port=server.port, protocol=2, decode_responses=False) as client:
        rows = [drill(Place(client, quick=quick)) for drill in _DRILLS]
    failures = [f"{row.name}: {row.promised}, but {row.figure}" for row in rows if not row.kept]
    return [Table("Rate limit", COLUMNS, [row[:4] for row in rows], failures)]


def _boundary(place: Place) -> Row:
    """Ask without a pause for some windows; the times of all that were let in tell the densest one."""
    limit, times = 100, list[int]()
    end = time.monotonic() + (3.5 if place.quick else 10.5)
    while time.monotonic() < end:
        if place.take(limit).verdict is Verdict.ALLOWED:
            times.append(int(place.client.lindex(_WINDOW, 0)))
    most = max(sum(at <= other < at + 1_000_000 for other in times) for at in times)
    figure = f"{most} in the densest second of {len(times)} let in"
    return Row("L04", f"{limit}/s, asked without a pause", "at most 100 in any second", figure, most <= limit)


def _denials(place: Place) -> Row:
    place.admitted(50, 50, 3_600)
    first, first_at_most = place.end_us(50, 3_600)
    refused = place.admitted(50, 500, 3_600)
    last_at_least, last = place.end_us(50, 3_600)
    drift_ms = max(0, last_at_least - first_at_most, first - last) / 1000
    figure = f"the end of the wait moved by {drift_ms:.1f} ms"
    is_kept = not refused and not drift_ms
    return Row("L05", "50/hour used up, then 500 refusals", "refusals cost nothing", figure, is_kept)


def _extremes(place: Place) -> Row:
    single = place.admitted(1, 20, 3_600)
    place.fresh()
    most = place.burst(MAX_REQUESTS, MAX_REQUESTS + 50, 86_400)
    place.fresh()
    unlimited = place.admitted(0, 2_000)
    kept = (single, most, unlimited) == (1, MAX_REQUESTS, 2_000) and not place.client.exists(_WINDOW)
    figure = f"{single}, {most} and {unlimited} let in"
    return Row("L07", "1/hour; 10 000/day; unlimited", "1, 10 000 and all", figure, kept)


def _lifetimes(place: Place) -> Row:
    """Look at the lifetime of every list of times after each request, also where a script failed midway."""
    seen = []
    for number in range(300):
        if number % 10 == 0:
            place.client.hset(_RECORD, "rate_limit_window_sec", "nan" if number % 20 else 2)
        try:
            place.take(20, 2)
        except Exception:  # noqa: BLE001 - an unreadable record is the point
            place.client.hset(_RECORD, "rate_limit_window_sec", 2)
        seen += [left for key in place.client.keys("*:window") if (left := place.client.pttl(key)) != _GONE]
    figure = f"{min(seen)} to {max(seen)} ms, {len(seen)} looks"
    kept = min(seen) > 0 and max(seen) <= 2_000
    return Row("L09", "2 s window, records broken now and then", "lifetime in (0, 2 s]", figure, kept)


def _edits(place: Place) -> Row:
    first = place.admitted(10, 20, 60)
    place.client.hset(_RECORD, "rate_limit_max", 15)
    raised = place.admitted(10, 20, 60)
    place.client.hset(_RECORD, "rate_limit_max", 5)
    lowered = place.admitted(10, 20, 60)
    figure = f"{first}, {raised} more, {lowered} more"
    kept = (first, raised, lowered) == (10, 5, 0)
    return Row("L10", "10/min, edited to 15, then to 5", "10, 5 more, none", figure, kept)


def _bursts(place: Place) -> Row:
    asked = 5_000 if place.quick else 20_000
    admitted = place.burst(1_000, asked, 60)
    times = sorted(int(at) for at in place.client.lrange(_WINDOW, 0, -1))
    gap = min(later - earlier for earlier, later in pairwise(times))
    figure = f"{admitted}, as near as {gap} µs to one another"
    done = f"1 000/min, {asked} at once in a pipeline"
    return Row("L11", done, "exactly 1 000", figure, admitted == 1_000)


def _memory(place: Place) -> Row:
    place.burst(MAX_REQUESTS, MAX_REQUESTS, 86_400)
    used = place.client.memory_usage(_WINDOW, samples=0)
    figure = f"{used / 1000:.0f} kB"
    return Row("L12", "the times of 10 000 requests", "at most 150 kB", figure, used <= 150_000)


def _script_time(place: Place) -> Row:
    place.client.config_resetstat()
    for _ in range(1_000):
        place.client.eval("return 1", 0)
    nothing_us = place.client.info("latencystats")["latency_percentiles_usec_eval"]["p50"]
    place.admitted(100, 200)
    place.client.config_resetstat()
    place.admitted(100, 1_000 if place.quick else 20_000)
    said = place.client.info("latencystats")["latency_percentiles_usec_evalsha"]
    figure = f"p50 {said['p50']:.0f} µs, p99 {said['p99']:.0f} µs, p99.9 {said['p99.9']:.0f} µs"
    return Row(
        "L13",
        "100/s, mostly refused; INFO latencystats",
        "half below 100 µs in Redis",
        figure,
        said["p50"] < max(100, 50 * nothing_us),  # a slow machine is slow at doing nothing too
    )


def _clock(place: Place) -> Row:
    place.admitted(10, 10, 60)
    place.shift(_HOUR_US)
    forward = place.admitted(10, 20, 60)
    place.fresh()
    place.admitted(10, 10, 60)
    place.shift(-_HOUR_US)
    back = place.admitted(10, 20, 60)
    figure = f"{forward} and {back} let in at once, no lockout"
    kept = (forward, back) == (10, 10)
    return Row("D24", "clock an hour ahead, an hour back", "at most one window more", figure, kept)


_DRILLS: list[Callable[[Place], Row]] = [
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
