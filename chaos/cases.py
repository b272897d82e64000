"""Single cases that a fault under a steady load does not show."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from chaos.actions import cut_clients, resolve
from chaos.report import Table
from chaos.stage import AS_EVER, BUSY, OK, UNAVAILABLE, Fault, Stage, nothing, staged
from devkit.load import OpenLoop, volleys
from devkit.proc import cpu_us, tcp_count
from devkit.process import ROOT
from devkit.service import record_key
from devkit.tally import Tally, auth, livez

AT_ONCE = 500
_LASTS_S = 5
STORM_PER_SECOND, MOST_ATTEMPTS_PER_SECOND = 1000, 100
BY_NAME = {"redis_host": "redis.test", "pythonpath": f"{ROOT / 'chaos' / 'resolver'}:{ROOT}"}

Outcome = tuple[str, bool]
"""A description of what was observed, and whether the promise was kept."""


@dataclass(frozen=True)
class Case:
    """A promise and how it is tried; *slack* multiplies the times that a busy machine misses."""

    name: str
    promise: str
    run: Callable[[Stage, float], Outcome]
    on: Fault
    in_quick: bool = False


def _on(**options: object) -> Fault:
    return Fault("", nothing, nothing, AS_EVER, **options)  # type: ignore[arg-type]


def slow_redis(stage: Stage, slack: float) -> Outcome:
    """Send 500 requests at once while Redis is 50 ms away."""
    stage.relay.delay_s = 0.025  # each way
    tally = volleys(stage.service.port, auth("good", stage.good), AT_ONCE, 5)
    slowest = tally.percentile_ms(100)
    is_kept = tally.statuses.keys() <= {OK, UNAVAILABLE} and slowest <= 1000 * slack
    return f"{tally}; p50 {tally.percentile_ms(50):.0f} ms, max {slowest:.0f} ms", is_kept


def liveness(stage: Stage, slack: float) -> Outcome:
    """Request /livez while 500 requests wait for a Redis that is stopped."""
    stage.redis.pause()
    tally = volleys(stage.service.port, auth("good", stage.good), AT_ONCE, 10, beside=livez())
    stage.redis.resume()
    lives, others = tally.named(livez().name), tally.named("good")
    median = lives.percentile_ms(50)
    is_kept = set(lives.statuses) == {OK} and set(others.statuses) == {UNAVAILABLE}
    seen = f"/livez {lives}, p50 {median:.0f} ms, max {lives.percentile_ms(100):.0f} ms"
    return f"{seen}; /auth {others}", is_kept and median <= 50 * slack


def storm(stage: Stage, slack: float) -> Outcome:
    """Send many requests while nothing listens on the port of Redis."""
    volleys(stage.service.port, auth("good", stage.good), 50, 2)  # so that every worker has connected
    stage.redis.kill()
    failed, cpu, began = tcp_count("AttemptFails"), cpu_us(stage.service.pid), time.monotonic()
    with OpenLoop(stage.service.port, auth("good", stage.good), per_second=STORM_PER_SECOND) as load:
        time.sleep(stage.during_s)
    lasted = time.monotonic() - began
    per_second = (tcp_count("AttemptFails") - failed) / lasted
    cores = (cpu_us(stage.service.pid) - cpu) / 1_000_000 / lasted
    is_kept = per_second <= MOST_ATTEMPTS_PER_SECOND and cores < 1 * slack
    is_kept &= set(load.tally.statuses) == {UNAVAILABLE}
    seen = f"{load.tally} in {lasted:.1f} s; {per_second:.0f} attempts a second, {cores:.2f} cores"
    return seen, is_kept


def expiry(stage: Stage, _: float) -> Outcome:
    """Present a token constantly until after its end."""
    token = stage.service.issue("a.test", ttl_seconds="2")
    ends = stage.command(f"PEXPIRETIME {record_key(token)}") / 1000 - time.time() + time.monotonic()
    with OpenLoop(stage.service.port, auth("good", token), per_second=200) as load:
        time.sleep(ends - time.monotonic() + 1)
    late = load.tally.between(ends)
    last = max(exchange.began for exchange in load.tally if exchange.status == OK)
    seen = f"last 200 asked {(ends - last) * 1000:.0f} ms before the end; afterwards {late}"
    return seen, set(late.statuses) == {401}


def deletion(stage: Stage, _: float) -> Outcome:
    """Delete tokens while they are in constant use."""
    late = Tally()
    for _turn in range(5):
        token = stage.service.issue("a.test")
        with OpenLoop(stage.service.port, auth("good", token), per_second=300) as load:
            time.sleep(0.3)
            stage.service.post("/delete_token", token=token)
            acknowledged = time.monotonic()
            time.sleep(0.3)
        late.exchanges += load.tally.between(acknowledged)
    is_kept = {401} <= late.statuses.keys() <= {401, UNAVAILABLE}
    return f"asked after the acknowledgment: {late}", is_kept


def silent_resolver(stage: Stage, slack: float) -> Outcome:
    """Cut the connections while a lookup of the name of Redis takes 5 s."""
    resolve(stage, "silent")
    cut_clients(stage)
    with OpenLoop(stage.service.port, auth("good", stage.good), per_second=100) as load:
        time.sleep(1.5)
        resolve(stage, "")
        began = time.monotonic()
        time.sleep(7)
    hung = load.tally.between(0, began)
    good = [exchange.ended for exchange in load.tally.between(began) if exchange.status == OK]
    recovered_s = min(good) - began if good else float("inf")
    seen = f"{hung}, max {hung.percentile_ms(100):.0f} ms; recovered in {recovered_s:.1f} s"
    is_kept = set(hung.statuses) == {UNAVAILABLE} and recovered_s < 6
    return seen, is_kept and hung.percentile_ms(99) <= 300 * slack


def eviction(stage: Stage, _: float) -> Outcome:
    """Look for the warning in the log after a first probe."""
    for _turn in range(20):
        stage.service.page("/healthz")
    lines = stage.service.log.count("maxmemory-policy of this Redis is allkeys-lru")
    return f"{lines} warnings in the log of 2 workers", 1 <= lines <= 2


CASES = (
    Case("Redis 50 ms away, 500 at once", "200 or 503, nobody waits long", slow_redis, _on(relayed=True)),
    Case("/livez beside 500 hung /auth", "200, median at most 50 ms", liveness, _on(), in_quick=True),
    Case(
        "Redis gone, 1 000 requests a second",
        "at most 100 attempts to connect a second, less than a core",
        storm,
        _on(),
    ),
    Case("a token at its last moment", "no 200 afterwards", expiry, _on()),
    Case("tokens deleted under load", "no 200 after the acknowledgment", deletion, _on(), in_quick=True),
    Case(
        "resolver silent for 5 s", "503 in time, back when it speaks", silent_resolver, _on(settings=BY_NAME)
    ),
    Case(
        "Redis may evict keys (`allkeys-lru`)",
        "a warning in the log, once a worker",
        eviction,
        _on(options=("--maxmemory-policy", "allkeys-lru")),
        in_quick=True,
    ),
)


def try_out(case: Case, slack: float) -> Outcome:
    """Run *case* on a stage of its own."""
    with staged(case.on, _LASTS_S) as stage:
        return case.run(stage, slack)


def table(*, quick: bool) -> Table:
    """Try all cases, or with *quick* only some, with slack."""
    result = Table("Single cases", ("case", "promise", "seen", "kept"))
    for case in CASES:
        if case.in_quick or not quick:
            print(case.name, file=sys.stderr, flush=True)
            seen, is_kept = try_out(case, BUSY if quick else 1)
            result.rows.append((case.name, case.promise, seen, "yes" if is_kept else "**no**"))
            result.failures.extend([] if is_kept else [f"{case.name}: {seen}"])
    return result
