"""The trial of one fault: a load before, during and after it, and the promises that must hold."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from chaos.stage import AS_EVER, GOOD, OK, UNAVAILABLE, Fault, Pace, Stage, staged
from devkit.load import OpenLoop
from devkit.tally import Tally, livez

_P99_MS = 300.0
_RECOVERY_S = 1.0
_PATIENCE_S = 15.0


def try_out(fault: Fault, pace: Pace) -> tuple[tuple[str, ...], list[str]]:
    """Load the service before, during and after *fault*; return its row and the promises that broke."""
    with staged(fault, pace.during_s) as stage:
        load = OpenLoop(stage.service.port, *stage.requests, per_second=pace.per_second)
        with load:
            phases, notes = _phases(fault, pace, stage, load)
    return phases.row(fault, notes), [f"{fault.name}: {what}" for what in phases.broken(fault, pace, notes)]


def _phases(fault: Fault, pace: Pace, stage: Stage, load: OpenLoop) -> tuple[Phases, list[str]]:
    time.sleep(pace.before_s)
    start = time.monotonic()
    fault.inject(stage)
    injected = time.monotonic()
    notes = list(fault.watch(stage))
    time.sleep(max(0.0, injected + pace.during_s - time.monotonic()))
    end = time.monotonic()
    fault.heal(stage)
    healed = time.monotonic()
    recovered = _first_good(load.tally, end)
    time.sleep(pace.after_s)
    over = time.monotonic()
    notes += fault.verify(stage)
    phases = Phases(load.tally, start, injected, end, healed, recovered, over)
    return phases, notes


def _first_good(tally: Tally, since: float) -> float | None:
    """Wait for the first 200 of the good token that was sent after *since*; return when it came."""
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        for exchange in tally:
            if exchange.began >= since and exchange.request.name == GOOD and exchange.status == OK:
                return exchange.ended
        time.sleep(0.005)
    return None


@dataclass(frozen=True)
class Phases:
    """All exchanges, and the moments that separate the phases, in monotonic seconds."""

    all: Tally
    start: float
    injected: float
    end: float
    healed: float
    recovered: float | None
    over: float

    @property
    def before(self) -> Tally:
        """Return what was sent before the fault."""
        return self.all.between(0, self.start)

    @property
    def during(self) -> Tally:
        """Return what was both sent and answered during the fault."""
        return self.all.between(self.injected, self.end).where(lambda each: each.ended < self.end)

    @property
    def after(self) -> Tally:
        """Return what was sent once the service had recovered."""
        return self.all.between(self.recovered or self.over, self.over)

    @property
    def touched(self) -> Tally:
        """Return all exchanges that the fault could slow down."""
        return self.all.where(lambda each: each.ended > self.start and each.began < self.healed)

    @property
    def recovered_s(self) -> float | None:
        """Return the seconds from the end of the fault to the first 200, None if there was none."""
        return self.recovered and max(0.0, self.recovered - self.healed)

    def row(self, fault: Fault, notes: Sequence[str]) -> tuple[str, ...]:
        """Return the row of *fault*."""
        decisions, lives = _decisions(self.touched), self.touched.named(livez().name)
        return (
            fault.name,
            *(str(_decisions(tally)) for tally in (self.before, self.during, self.after)),
            f"{len(self._without_right(fault))}",
            *(f"{decisions.percentile_ms(percent):.0f}" for percent in (50, 99, 100)),
            f"{lives.percentile_ms(100):.0f}",
            "never" if self.recovered_s is None else f"{self.recovered_s * 1000:.0f}",
            "; ".join(note.removeprefix("!") for note in notes),
        )

    def broken(self, fault: Fault, pace: Pace, notes: Sequence[str]) -> Iterator[str]:
        """Yield each promise that was broken."""
        yield from (note.removeprefix("!") for note in notes if note.startswith("!"))
        if wrong := self._without_right(fault):
            yield f"{len(wrong)} answers of 200 without right"
        yield from _unexpected("before", self.before, AS_EVER, pace.stray)
        yield from _unexpected("after", self.after, AS_EVER, pace.stray)
        yield from _unexpected("during", self.during, fault.during, pace.stray)
        p99 = _decisions(self.touched).percentile_ms(99)
        if p99 > _P99_MS * pace.slack:
            yield f"p99 was {p99:.0f} ms, not at most {_P99_MS * pace.slack:.0f}"
        if self.recovered_s is None or self.recovered_s > _RECOVERY_S * pace.slack:
            yield f"recovery took {self.recovered_s} s, not at most {_RECOVERY_S * pace.slack:.0f}"

    def _without_right(self, fault: Fault) -> Tally:
        """Return the 200s of requests that never deserve one, and of tokens that the fault closes."""
        never = self.all.where(lambda each: each.status == OK != each.request.expected)
        closed = self.during.where(lambda each: each.status == OK != fault.during.get(each.request.name, OK))
        return Tally([*never, *closed])


def _decisions(tally: Tally) -> Tally:
    return tally.where(lambda each: each.request.name != livez().name)


def _unexpected(title: str, tally: Tally, expected: Mapping[str, int], most: float) -> Iterator[str]:
    """Yield a complaint if there are unexpected statuses; a few 503s may be due to a busy machine."""
    others = tally.where(lambda each: each.status != expected.get(each.request.name, each.request.expected))
    stray = others.statuses[UNAVAILABLE]
    if not tally:
        yield f"nothing was answered {title} it"
    if len(others) > stray or stray > most * len(tally):
        yield f"{title} it, unexpected answers: {others}"
