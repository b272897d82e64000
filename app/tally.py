"""What the workers of this service count and measure, added up for /metrics (docs/decisions/0016)."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from itertools import count
from mmap import mmap
from typing import TypeVar

from app.core.audit import Action
from app.core.durability import Durability
from app.core.logins import Login
from app.core.verdicts import Verdict

_Word = TypeVar("_Word", bound=Enum)

BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
REDIS_BUCKETS_S = (0.00025, 0.0005, *BUCKETS_S)
MAX_ROWS = 1024  # twice the maximum of workers, because a reload runs old and new ones side by side


class Gauge(StrEnum):
    """What a worker has now; it publishes the number in its row, where the next worker starts at 0."""

    CLIENT_CONNECTIONS = auto()
    REDIS_CONNECTIONS = auto()
    REDIS_WAITING = auto()


class _Histogram:
    """The columns of a histogram: one for each bucket, one for longer durations, and the sum."""

    def __init__(self, first: int, bounds: tuple[float, ...]) -> None:
        self.first, self.bounds = first, bounds
        self.microseconds = first + len(bounds) + 1
        self.end = self.microseconds + 1

    def read(self, sums: Sequence[int]) -> Durations:
        counts = sums[self.first : self.microseconds]
        return Durations(self.bounds, counts, sums[self.microseconds] / 1_000_000)


_DECISIONS = _Histogram(0, BUCKETS_S)
_BUCKET, _MICROSECONDS = _DECISIONS.first, _DECISIONS.microseconds
_REDIS = _Histogram(_DECISIONS.end, REDIS_BUCKETS_S)
_FREE = count(_REDIS.end)
_EXPRESS = next(_FREE)
_VERDICTS = {verdict: next(_FREE) for verdict in Verdict}
_LOGINS = {login: next(_FREE) for login in Login}
_CHANGES = {durability: next(_FREE) for durability in Durability}
_ENTRIES = {action: next(_FREE) for action in Action}
_GAUGES = {gauge: next(_FREE) for gauge in Gauge}
_STARTING = next(_FREE)
_COLUMNS = next(_FREE)
_CELL_BYTES = 8


@dataclass(frozen=True, slots=True)
class Durations:
    """How many durations ended within each of *bounds_s*, the last number being of longer ones; their sum."""

    bounds_s: tuple[float, ...]
    counts: Sequence[int]
    seconds: float


@dataclass(frozen=True, slots=True)
class Totals:
    """The sums over all workers; *express* is the number of decisions that the express lane answered."""

    decisions: Durations
    redis: Durations
    express: int
    verdicts: Mapping[Verdict, int]
    logins: Mapping[Login, int]
    changes: Mapping[Durability, int]
    entries: Mapping[Action, int]
    gauges: Mapping[Gauge, int]


class Tally:
    """Numbers in memory that this process shares with its forks.

    Each worker writes to a row of its own, so that no lock is needed and no count is lost; ``totals`` sums
    the rows. A row outlives its worker, and a later worker continues it.
    """

    def __init__(self) -> None:
        # One row more, whose first cell is the number of rows that were ever in use.
        self._cells = memoryview(mmap(-1, (MAX_ROWS + 1) * _COLUMNS * _CELL_BYTES)).cast("Q")
        self._row = 0

    def write_to(self, row: int) -> None:
        """Write to *row* from now on, as will every process that is forked before the next call."""
        row %= MAX_ROWS
        self._row = row * _COLUMNS
        self._cells[-_COLUMNS] = max(self._rows, row + 1)
        self.clear_gauges(row)
        self._cells[self._row + _STARTING] = 1

    def clear_gauges(self, row: int) -> None:
        """Set the gauges of *row* to 0, because its worker is gone."""
        for column in (*_GAUGES.values(), _STARTING):
            self._cells[row % MAX_ROWS * _COLUMNS + column] = 0

    def note_started(self) -> None:
        """Note that this worker accepts connections, which it did not since ``write_to``."""
        self._cells[self._row + _STARTING] = 0

    @property
    def is_any_starting(self) -> bool:
        """Whether a worker was forked that does not accept connections yet."""
        return any(self._cells[_STARTING : self._rows * _COLUMNS : _COLUMNS])

    def note(self, verdict: Verdict, seconds: float) -> None:
        """Count a decision that took *seconds*."""
        cells, row = self._cells, self._row
        cells[row + _VERDICTS[verdict]] += 1
        cells[row + _BUCKET + bisect_left(BUCKETS_S, seconds)] += 1
        cells[row + _MICROSECONDS] += int(seconds * 1_000_000)

    def note_express(self) -> None:
        """Count a decision of the express lane."""
        self._cells[self._row + _EXPRESS] += 1

    def note_redis(self, seconds: float, commands: int) -> None:
        """Count *commands* that were sent to Redis together and answered after *seconds*."""
        cells, row = self._cells, self._row
        cells[row + _REDIS.first + bisect_left(REDIS_BUCKETS_S, seconds)] += commands
        cells[row + _REDIS.microseconds] += int(seconds * 1_000_000) * commands

    def note_login(self, login: Login) -> None:
        """Count an attempt to sign in."""
        self._cells[self._row + _LOGINS[login]] += 1

    def note_change(self, durability: Durability) -> None:
        """Count a change of a token."""
        self._cells[self._row + _CHANGES[durability]] += 1

    def note_audit_entry(self, action: Action) -> None:
        """Count an entry that this process wrote."""
        self._cells[self._row + _ENTRIES[action]] += 1

    def publish(self, gauges: Mapping[Gauge, int]) -> None:
        """Set *gauges* of this worker."""
        for gauge, number in gauges.items():
            self._cells[self._row + _GAUGES[gauge]] = number

    def totals(self) -> Totals:
        """Return the sums over all workers, past ones among them."""
        used = self._cells[: self._rows * _COLUMNS]
        sums = [sum(used[column::_COLUMNS]) for column in range(_COLUMNS)]
        return Totals(
            _DECISIONS.read(sums),
            _REDIS.read(sums),
            sums[_EXPRESS],
            _by_word(_VERDICTS, sums),
            _by_word(_LOGINS, sums),
            _by_word(_CHANGES, sums),
            _by_word(_ENTRIES, sums),
            _by_word(_GAUGES, sums),
        )

    @property
    def _rows(self) -> int:
        return self._cells[-_COLUMNS] or 1


def _by_word(columns: Mapping[_Word, int], sums: Sequence[int]) -> Mapping[_Word, int]:
    return {word: sums[column] for word, column in columns.items()}


# Created in the process that forks the workers, before any app exists.
SHARED = Tally()
