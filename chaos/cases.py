"""Single cases that a fault under steady load does not show."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load import cpu_us
from chaos.acts import cut_clients, resolve
from chaos.load import Load, auth, livez, percentile, statuses, volleys
from chaos.report import Table
from chaos.stage import AS_EVER, BUSY, OK, UNAVAILABLE, Fault, Stage, nothing, staged
from devkit.process import ROOT
from devkit.service import record_key

CROWD = 500
_LASTS_S = 5
STORM_PER_SECOND, MOST_ATTEMPTS_PER_SECOND = 1000, 100
BY_NAME = {"redis_host": "redis.test", "pythonpath": f"{ROOT / 'chaos' / 'resolver'}:{ROOT}"}

Outcome = tuple[str, bool]
"""What was seen, and whether the promise was kept."""


@dataclass(frozen=True)
class Case:
    """A promise, what it is tried on, and how; *slack* widens what a busy machine can't keep."""

    name: str
    promise: str
    run: Callable[[Stage, float], Outcome]
    on: Fault
    in_quick: bool = False


def _on(**options: object) -> Fault:
    return Fault("", nothing, nothing, AS_EVER, **options)  # type: ignore[arg-type]


def slow_redis(stage: Stage, slack: float) -> Outcome:
    """Ask 500 at once while Redis is 50 ms away."""
    stage.proxy.delay_s = 0.025  # each way
    shots = volleys(stage.service.port, auth("good", stage.good, OK), CROWD, 5)
    slowest = percentile(shots, 100)
    is_kept = {shot.status for shot in shots} <= {OK, UNAVAILABLE} and slowest <= 1000 * slack
    return f"{statuses(shots)}; p50 {percentile(shots, 50):.0f} ms, max {slowest:.0f} ms", is_kept


def liveness(stage: Stage, slack: float) -> Outcome:
    """Ask whether the process lives while 500 requests wait for a Redis that is stopped."""
    stage.redis.pause()
    shots = volleys(stage.service.port, auth("good", stage.good, OK), CROWD, 10, beside=livez())
    stage.redis.resume()
    lives = [shot for shot in shots if shot.ask == livez()]
    others = [shot for shot in shots if shot.ask != livez()]
    median = percentile(lives, 50)
    is_kept = {shot.status for shot in lives} == {200} and {shot.status for shot in others} == {503}
    seen = f"/livez {statuses(lives)}, p50 {median:.0f} ms, max {percentile(lives, 100):.0f} ms"
    return f"{seen}; /auth {statuses(others)}", is_kept and median <= 50 * slack


def storm(stage: Stage, slack: float) -> Outcome:
    """Send many requests while nobody listens on the port of Redis."""
    volleys(stage.service.port, auth("good", stage.good, OK), 50, 2)  # every worker has met Redis
    stage.redis.kill()
    failed, cpu, began = failed_attempts(), cpu_us(stage.service.pid), time.monotonic()
    with Load(stage.service.port, [auth("good", stage.good, OK)], STORM_PER_SECOND) as load:
        time.sleep(stage.during_s)
    lasted = time.monotonic() - began
    per_second = (failed_attempts() - failed) / lasted
    cores = (cpu_us(stage.service.pid) - cpu) / 1_000_000 / lasted
    is_kept = per_second <= MOST_ATTEMPTS_PER_SECOND and cores < 1 * slack
    is_kept &= {shot.status for shot in load.shots} == {UNAVAILABLE}
    seen = f"{statuses(load.shots)} in {lasted:.1f} s; {per_second:.0f} attempts a second, {cores:.2f} cores"
    return seen, is_kept


def failed_attempts() -> int:
    """Return how many TCP connections were refused to anybody on this machine so far."""
    names, values = (
        line.split() for line in Path("/proc/net/snmp").read_text().splitlines() if "Tcp:" in line
    )
    return int(values[names.index("AttemptFails")])


def expiry(stage: Stage, _: float) -> Outcome:
    """Ask for a token all the time until after its last moment."""
    token = stage.service.issue("a.test", ttl_seconds="2")
    ends = stage.command(f"PEXPIRETIME {record_key(token)}") / 1000 - time.time() + time.monotonic()
    with Load(stage.service.port, [auth("good", token, OK)], 200) as load:
        time.sleep(ends - time.monotonic() + 1)
    late = [shot for shot in load.shots if shot.began > ends]
    last = max(shot.began for shot in load.shots if shot.status == OK)
    seen = f"last 200 asked {(ends - last) * 1000:.0f} ms before the end; afterwards {statuses(late)}"
    return seen, {shot.status for shot in late} == {401}


def deletion(stage: Stage, _: float) -> Outcome:
    """Delete tokens that are asked for all the time."""
    late = []
    for _turn in range(5):
        token = stage.service.issue("a.test")
        with Load(stage.service.port, [auth("good", token, OK)], 300) as load:
            time.sleep(0.3)
            stage.service.post("/delete_token", token=token)
            acknowledged = time.monotonic()
            time.sleep(0.3)
        late += load.between(acknowledged, float("inf"))
    said = {shot.status for shot in late}
    return f"asked after the acknowledgment: {statuses(late)}", 401 in said and said <= {401, UNAVAILABLE}


def silent_resolver(stage: Stage, slack: float) -> Outcome:
    """Lose the connections while looking up the name of Redis takes 5 s."""
    resolve(stage, "silent")
    cut_clients(stage)
    with Load(stage.service.port, [auth("good", stage.good, OK)], 100) as load:
        time.sleep(1.5)
        resolve(stage, "")
        began = time.monotonic()
        time.sleep(7)
    hung = [shot for shot in load.shots if shot.began < began]
    good = [shot.ended for shot in load.shots if shot.began >= began and shot.status == OK]
    recovered_s = min(good) - began if good else float("inf")
    seen = f"{statuses(hung)}, max {percentile(hung, 100):.0f} ms; recovered in {recovered_s:.1f} s"
    is_kept = {shot.status for shot in hung} == {UNAVAILABLE} and recovered_s < 6
    return seen, is_kept and percentile(hung, 99) <= 300 * slack


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
    """Try all of them, or with *quick* only some, and with slack."""
    made = Table("Single cases", ("case", "promise", "seen", "kept"))
    for case in CASES:
        if case.in_quick or not quick:
            print(case.name, file=sys.stderr, flush=True)
            seen, is_kept = try_out(case, BUSY if quick else 1)
            made.rows.append((case.name, case.promise, seen, "yes" if is_kept else "**no**"))
            made.failures.extend([] if is_kept else [f"{case.name}: {seen}"])
    return made
