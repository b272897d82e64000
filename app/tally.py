"""Counts and durations of decisions, over all workers of this service (docs/decisions/0016)."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from mmap import mmap

from app.core.verdicts import Verdict

BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
MAX_ROWS = 1024  # twice the maximum of workers, because a reload runs old and new ones side by side

_VERDICTS = {verdict: column for column, verdict in enumerate(Verdict)}
_BUCKET = len(_VERDICTS)
_MICROSECONDS = _BUCKET + len(BUCKETS_S) + 1
_EXPRESS = _MICROSECONDS + 1
_COLUMNS = _EXPRESS + 1
_CELL_BYTES = 8


@dataclass(frozen=True, slots=True)
class Totals:
    """Decisions by verdict and by duration: a bucket up to each of BUCKETS_S, one for the rest; their sum.

    *express* is the number of decisions that the express lane answered.
    """

    verdicts: Mapping[Verdict, int]
    buckets: Sequence[int]
    seconds: float
    express: int


class Tally:
    """Counters in memory that this process shares with its forks.

    Each worker adds to a row of its own, so that no lock is needed and no count is lost; ``totals`` sums the
    rows. A row outlives its worker, and a later worker continues it.
    """

    def __init__(self) -> None:
        self._cells = memoryview(mmap(-1, MAX_ROWS * _COLUMNS * _CELL_BYTES)).cast("Q")
        self._row = 0

    def write_to(self, row: int) -> None:
        """Add to *row* from now on."""
        self._row = row % MAX_ROWS * _COLUMNS

    def note(self, verdict: Verdict, seconds: float) -> None:
        """Count a decision that took *seconds*."""
        cells, row = self._cells, self._row
        cells[row + _VERDICTS[verdict]] += 1
        cells[row + _BUCKET + bisect_left(BUCKETS_S, seconds)] += 1
        cells[row + _MICROSECONDS] += int(seconds * 1_000_000)

    def note_express(self) -> None:
        """Count a decision of the express lane."""
        self._cells[self._row + _EXPRESS] += 1

    def totals(self) -> Totals:
        """Return the sums over all workers, past ones among them."""
        sums = [sum(self._cells[column::_COLUMNS]) for column in range(_COLUMNS)]
        verdicts = {verdict: sums[column] for verdict, column in _VERDICTS.items()}
        seconds = sums[_MICROSECONDS] / 1_000_000
        return Totals(verdicts, sums[_BUCKET:_MICROSECONDS], seconds, sums[_EXPRESS])


# Created in the process that forks the workers, before any app exists.
SHARED = Tally()
