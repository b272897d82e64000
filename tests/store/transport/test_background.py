"""Work in the background: shared between callers in a worker, and run by each caller elsewhere."""

from __future__ import annotations

import logging
from typing import Any

import gevent
import pytest
from gevent.event import Event

from app.core.errors import StoreUnavailableError
from app.store.transport.background import SingleFlight, run_in_background
from app.store.transport.connection import connect
from app.store.transport.deadlines import StillConnectingError
from devkit.builders import make_settings


class Work:
    """Counts how often it runs; a run ends when it may."""

    def __init__(self) -> None:
        self.runs = 0
        self.may_end = Event()
        self.may_end.set()

    def __call__(self) -> int:
        """Return how many runs there were when this one started."""
        self.runs += 1
        number = self.runs
        self.may_end.wait()
        return number


@pytest.mark.parametrize(("concurrent", "expected"), [(True, [1, 1, 1]), (False, [1, 2, 3])])
def test_callers_share_one_run(concurrent: bool, expected: list[int]) -> None:  # noqa: FBT001 - a case
    """Concurrent callers get the result of one run; otherwise each caller gets its own."""
    flight = SingleFlight(Work(), concurrent=concurrent)
    jobs = [gevent.spawn(flight) for _ in range(3)]
    gevent.joinall(jobs)

    assert [job.value for job in jobs] == expected


def test_run_outlives_its_caller() -> None:
    """A caller that misses its deadline gets StillConnectingError, and the run continues for the next one."""
    work = Work()
    work.may_end.clear()
    flight = SingleFlight(work, concurrent=True)

    with pytest.raises(StillConnectingError), gevent.Timeout(0.001):
        flight()
    gevent.spawn(work.may_end.set)
    assert (flight(), work.runs) == (1, 1)


@pytest.mark.parametrize("concurrent", [True, False])
def test_failure_in_the_background(concurrent: bool, caplog: pytest.LogCaptureFixture) -> None:  # noqa: FBT001
    """A failure is logged; concurrent work has not started when the call returns."""

    def fail() -> None:
        raise StoreUnavailableError("no Redis")

    with caplog.at_level(logging.ERROR):
        run_in_background(fail, concurrent=concurrent)
        assert len(caplog.records) == (0 if concurrent else 1)
        gevent.sleep(0)
    assert "no Redis" in caplog.text


@pytest.mark.parametrize("url", ["redis://h", "rediss://h", "unix:///s", "redis+sentinel://h:1/tokens"])
@pytest.mark.parametrize("concurrent", [True, False])
def test_connections_are_concurrent_if_the_client_is(url: str, concurrent: bool) -> None:  # noqa: FBT001
    """The flag that ``connect`` is given reaches every pooled connection."""
    client: Any = connect(make_settings(REDIS_URL=url), concurrent=concurrent)

    assert client.connection_pool.make_connection().concurrent is concurrent
