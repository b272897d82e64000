"""What a fault happens to: Redis, the service, a relay between them, tokens of every verdict, a load."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from chaos.load import Ask, Load, Shot, auth, livez, percentile, statuses
from chaos.proxy import Proxy
from devkit.redis_server import RedisServer
from devkit.service import Gunicorn

PER_SECOND = 200
BUSY = 4.0
OK, UNAVAILABLE = 200, 503
NO_EVICTION = ("--maxmemory-policy", "noeviction")
GOOD, UNKNOWN, ELSEWHERE = "good", "unknown", "wrong host"
OUTAGE: Mapping[str, int] = dict.fromkeys((GOOD, UNKNOWN, ELSEWHERE), UNAVAILABLE)
AS_EVER: Mapping[str, int] = {}

_P99_MS = 300.0
_RECOVERY_S = 1.0
_PATIENCE_S = 15.0


@dataclass
class Stage:
    """All that runs while one fault is tried."""

    redis: RedisServer
    proxy: Proxy
    service: Gunicorn
    good: str
    during_s: float
    stack: ExitStack
    asks: list[Ask]
    kept: dict[str, Any] = field(default_factory=dict)  # what one act leaves for another

    @property
    def client(self) -> Any:
        """Return the operator's connection to Redis, which no fault between it and the service touches."""
        return self.redis.client()

    def command(self, text: str) -> Any:
        """Give Redis one command."""
        return self.client.execute_command(*text.split())


Act = Callable[[Stage], object]
Watch = Callable[[Stage], Iterable[str]]


def nothing(_: Stage) -> None:
    """Do nothing."""


def sees_nothing(_: Stage) -> Iterable[str]:
    """See nothing worth a note."""
    return ()


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong, how it ends, and what is expected meanwhile of which request."""

    name: str
    inject: Act
    heal: Act
    during: Mapping[str, int] = field(default_factory=lambda: OUTAGE)
    watch: Watch = sees_nothing  # amid the fault; yields notes, those of broken promises begin with "!"
    prepare: Act = nothing
    verify: Watch = sees_nothing  # when all is over; as watch
    options: Sequence[str] = ()
    settings: Mapping[str, object] = field(default_factory=dict)
    relayed: bool = False
    aof: bool = False
    in_quick: bool = False


@dataclass(frozen=True)
class Pace:
    """How long each phase lasts, how dense the load is, and how far a busy machine may stretch a promise.

    *stray* is the share of answers that may be a 503 though nothing is wrong with Redis.
    """

    before_s: float
    during_s: float
    after_s: float
    per_second: int
    slack: float
    stray: float


FULL = Pace(3, 10, 5, PER_SECOND, slack=1, stray=0.01)
QUICK = Pace(0.5, 1.5, 0.5, 60, slack=BUSY, stray=0.5)  # where other tests run too


@contextmanager
def staged(fault: Fault, during_s: float) -> Iterator[Stage]:
    """Start everything that *fault* needs."""
    with ExitStack() as stack:
        server = stack.enter_context(RedisServer(aof=fault.aof, options=(*NO_EVICTION, *fault.options)))
        proxy = stack.enter_context(Proxy(server.port))
        port = proxy.port if fault.relayed else server.port
        usual = {"log_level": "warning", "rate_limit_max": 0, "redis_deadline_ms": None}
        service = Gunicorn(port, **usual | dict(fault.settings))
        stack.enter_context(service)
        good = service.issue("a.test")
        stage = Stage(server, proxy, service, good, during_s, stack, _asks(good))
        fault.prepare(stage)
        yield stage


def _asks(good: str) -> list[Ask]:
    return [
        auth(GOOD, good, 200),
        auth(UNKNOWN, "no-such-token", 401),
        auth(ELSEWHERE, good, 403, host="b.test"),
        livez(),
    ]


def try_out(fault: Fault, pace: Pace) -> tuple[tuple[str, ...], list[str]]:
    """Load the service before, during and after *fault*; return its row and the promises that broke."""
    with staged(fault, pace.during_s) as stage, Load(stage.service.port, stage.asks, pace.per_second) as load:
        time.sleep(pace.before_s)
        start = time.monotonic()
        fault.inject(stage)
        injected = time.monotonic()
        notes = list(fault.watch(stage))
        time.sleep(max(0.0, injected + pace.during_s - time.monotonic()))
        end = time.monotonic()
        fault.heal(stage)
        healed = time.monotonic()
        recovered = _first_good(load, end)
        time.sleep(pace.after_s)
        over = time.monotonic()
        notes += fault.verify(stage)
    phases = Phases(
        load.between(0, start),
        [shot for shot in load.between(injected, end) if shot.ended < end],
        load.between(recovered or over, over),
        [shot for shot in load.shots if shot.ended > start and shot.began < healed],
        load.shots,
        recovered and max(0.0, recovered - healed),
    )
    return phases.row(fault, notes), [f"{fault.name}: {what}" for what in phases.broken(fault, pace, notes)]


def _first_good(load: Load, since: float) -> float | None:
    """Wait for the first 200 of the good token that was asked for after *since*; return when it came."""
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        for shot in list(load.shots):
            if shot.began >= since and shot.ask.name == GOOD and shot.status == OK:
                return shot.ended
        time.sleep(0.005)
    return None


@dataclass(frozen=True)
class Phases:
    """What was answered in each phase; *touched* is all that the fault could slow down."""

    before: Sequence[Shot]
    during: Sequence[Shot]
    after: Sequence[Shot]
    touched: Sequence[Shot]
    all: Sequence[Shot]
    recovered_s: float | None

    def row(self, fault: Fault, notes: Sequence[str]) -> tuple[str, ...]:
        """Return the row of *fault*."""
        auths = _auths(self.touched)
        lives = [shot for shot in self.touched if shot.ask.name == livez().name]
        latencies = (f"{percentile(auths, percent):.0f}" for percent in (50, 99, 100))
        return (
            fault.name,
            *(statuses(_auths(shots)) for shots in (self.before, self.during, self.after)),
            f"{len(self._without_right(fault))}",
            *latencies,
            f"{percentile(lives, 100):.0f}",
            "never" if self.recovered_s is None else f"{self.recovered_s * 1000:.0f}",
            "; ".join(note.removeprefix("!") for note in notes),
        )

    def broken(self, fault: Fault, pace: Pace, notes: Sequence[str]) -> Iterator[str]:
        """Yield each promise that was broken."""
        yield from (note.removeprefix("!") for note in notes if note.startswith("!"))
        if wrong := self._without_right(fault):
            yield f"{len(wrong)} answers of 200 without right"
        for title, shots in (("before", self.before), ("after", self.after)):
            yield from _unexpected(title, shots, AS_EVER, pace.stray)
        yield from _unexpected("during", self.during, fault.during, pace.stray)
        p99 = percentile(_auths(self.touched), 99)
        if p99 > _P99_MS * pace.slack:
            yield f"p99 was {p99:.0f} ms, not at most {_P99_MS * pace.slack:.0f}"
        if self.recovered_s is None or self.recovered_s > _RECOVERY_S * pace.slack:
            yield f"recovery took {self.recovered_s} s, not at most {_RECOVERY_S * pace.slack:.0f}"

    def _without_right(self, fault: Fault) -> list[Shot]:
        """Return the 200s of whoever never has a right, and those of tokens that the fault closes."""
        wrong = [shot for shot in self.all if shot.status == OK != shot.ask.expected]
        return wrong + [s for s in self.during if s.status == OK != fault.during.get(s.ask.name, OK)]


def _auths(shots: Iterable[Shot]) -> list[Shot]:
    return [shot for shot in shots if shot.ask.name != livez().name]


def _unexpected(title: str, shots: Sequence[Shot], expected: Mapping[str, int], most: float) -> Iterator[str]:
    """Complain about every other status than the expected one; a few of 503 may be the machine's."""
    others = [shot for shot in shots if shot.status != expected.get(shot.ask.name, shot.ask.expected)]
    stray = [shot for shot in others if shot.status == UNAVAILABLE]
    if not shots:
        yield f"nothing was answered {title} it"
    if len(others) > len(stray) or len(stray) > most * len(shots):
        yield f"{title} it, unexpected answers: {statuses(others)}"
