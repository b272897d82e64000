"""A tally shared by all forked processes."""

from __future__ import annotations

import os

from app.core.logins import Login
from app.core.verdicts import Verdict
from app.tally import MAX_ROWS, Gauge, Tally


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


def test_gauges() -> None:
    """What a worker has is added up, and is gone with it; its counts stay."""
    tally = Tally()
    for row in (0, 1):
        tally.write_to(row)
        tally.publish({Gauge.CLIENT_CONNECTIONS: 3, Gauge.REDIS_WAITING: row})
        tally.note_login(Login.WRONG)
    assert tally.totals().gauges == {
        Gauge.CLIENT_CONNECTIONS: 6,
        Gauge.REDIS_CONNECTIONS: 0,
        Gauge.REDIS_WAITING: 1,
    }

    tally.clear_gauges(1)
    assert tally.totals().gauges[Gauge.CLIENT_CONNECTIONS] == 3
    tally.write_to(0)
    assert {*tally.totals().gauges.values()} == {0}
    assert tally.totals().logins[Login.WRONG] == 2


def test_starting() -> None:
    """A worker is starting from its fork until it says otherwise, or is gone."""
    tally = Tally()
    states = [tally.is_any_starting]
    tally.write_to(1)
    states.append(tally.is_any_starting)
    tally.note_started()
    states.append(tally.is_any_starting)
    tally.write_to(2)
    states.append(tally.is_any_starting)
    tally.clear_gauges(2)
    states.append(tally.is_any_starting)

    assert states == [False, True, False, True, False]


def test_round_trips() -> None:
    """Commands that Redis answered together count as many, each with the same duration."""
    tally = Tally()
    tally.note_redis(0.0004, 3)
    tally.note_redis(2, 1)

    redis = tally.totals().redis
    assert redis.counts == [0, 3, *[0] * 10, 1]
    assert round(redis.seconds, 4) == 2.0012


def test_bounds() -> None:
    """A bucket counts durations up to and including its bound, as in Prometheus."""
    tally = Tally()
    for seconds in (0, 0.001, 0.0010001, 1, 1.0001):
        tally.note(Verdict.ALLOWED, seconds)

    assert tally.totals().decisions.counts == [2, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1]
