"""A tally shared by all forked processes."""

from __future__ import annotations

import os

from app.core.verdicts import Verdict
from app.tally import MAX_ROWS, Tally


def test_processes() -> None:
    """Counts of child processes are added up, including those of processes that have exited."""
    tally = Tally()
    for row in (1, 2, MAX_ROWS - 1):
        if not (child := os.fork()):
            tally.write_to(row)
            for _ in range(1000):
                tally.note(Verdict.ALLOWED, 0.002)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    tally.note(Verdict.UNKNOWN_TOKEN, 5)

    totals = tally.totals()
    assert (totals.verdicts[Verdict.ALLOWED], totals.verdicts[Verdict.UNKNOWN_TOKEN]) == (3000, 1)
    assert totals.decisions.counts == [0, 3000, 0, 0, 0, 0, 0, 0, 0, 0, 1]
    assert round(totals.decisions.seconds, 3) == 11


def test_bounds() -> None:
    """A bucket counts durations up to and including its bound, as in Prometheus."""
    tally = Tally()
    for seconds in (0, 0.001, 0.0010001, 1, 1.0001):
        tally.note(Verdict.ALLOWED, seconds)

    assert tally.totals().decisions.counts == [2, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1]
