"""Over a rotation and a day's end under load, a quota admits exactly its number of requests on each day."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Self

import pytest

from app.store import keys
from devkit.clock import StoppedClock
from devkit.load import ClosedLoop
from devkit.redis_server import RedisServer
from devkit.service import Gunicorn, record_key
from devkit.tally import NO_ANSWER, Tally, auth
from devkit.waiting import until

pytestmark = pytest.mark.e2e

QUOTA = 600
S = 1_000_000
DAY_S = 86_400
LONGEST = {"rate_limit_max": "10000", "rate_limit_window_sec": str(31 * DAY_S)}  # which notes every admission
GRACE_S = "604800"


@pytest.fixture(name="clock")
def _clock() -> Iterator[StoppedClock]:
    with StoppedClock() as clock:
        yield clock


@pytest.fixture(name="redis_under_clock")
def _redis_under_clock(clock: StoppedClock) -> Iterator[RedisServer]:
    with clock.server() as server:
        yield server


@pytest.fixture(name="replicas")
def _replicas(redis_under_clock: RedisServer) -> Iterator[list[Gunicorn]]:
    """Run two services with four workers each; only the first has the express lane."""
    port = redis_under_clock.port
    with (
        Gunicorn(port, web_concurrency=4) as first,
        Gunicorn(port, web_concurrency=4, express_lane="false") as second,
    ):
        yield [first, second]


class Clients:
    """Clients of all replicas, which send one request after another until the end of a block."""

    def __init__(self, replicas: list[Gunicorn]) -> None:
        self._replicas, self._loads, self._stack = replicas, list[ClosedLoop](), ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def send(self, secret: str) -> None:
        """Send *secret* too, from now on."""
        for replica in self._replicas:
            load = ClosedLoop(replica.port, auth(secret, secret), clients=8)
            self._loads.append(self._stack.enter_context(load))

    def wait_for(self, answers: int) -> None:
        """Wait until each replica has given each secret that many more answers."""
        for load in self._loads:
            load.wait_for(answers)

    @property
    def tally(self) -> Tally:
        """Return the answers so far."""
        return Tally(exchange for load in self._loads for exchange in load.tally)


def retry_after(replica: Gunicorn, secret: str) -> int:
    """Return after how many seconds a refused client may come again."""
    answer = replica.auth(secret)
    assert (answer.status, answer.text) == (429, "quota exceeded")
    return int(answer.headers["retry-after"])


def test_exact_on_each_day(
    replicas: list[Gunicorn], redis_under_clock: RedisServer, clock: StoppedClock
) -> None:
    """Both secrets together are admitted exactly up to the quota before midnight, and again after it."""
    redis = redis_under_clock.client()
    # The services have the real time, by which they compute the end of the grace period.
    midnight = (int(time.time()) // DAY_S + 1) * DAY_S * S
    clock.set(midnight - 90 * S)
    old = replicas[0].issue("a.test", quota_max=str(QUOTA), quota_period="day", **LONGEST)

    def used(secret: str) -> int:
        return int((redis.hget(record_key(secret), "quota_used") or "0").split()[-1])

    with Clients(replicas) as clients:
        clients.send(old)
        until(lambda: used(old) > QUOTA // 4)
        page = replicas[1].post("/rotate_token", token=old, grace_seconds=GRACE_S)
        (new,) = re.findall(r"acl_[0-9A-Za-z]{38}", page.text)[:1]
        clients.send(new)
        until(lambda: used(new) >= QUOTA)
        clients.wait_for(10)
        waits = [retry_after(replica, secret) for replica in replicas for secret in (old, new)]
        clock.set(midnight - 1)
        clients.wait_for(10)
        waits += [retry_after(replicas[0], new)]
        clock.set(midnight)
        until(lambda: redis.llen(window(new)) >= 2 * QUOTA)
        clients.wait_for(10)
        waits += [retry_after(replica, secret) for replica in replicas for secret in (old, new)]

    assert waits == [90] * 4 + [1] + [DAY_S] * 4
    tally = clients.tally
    assert NO_ANSWER not in tally.statuses
    assert (tally.statuses[200], set(tally.statuses)) == (2 * QUOTA, {200, 429})
    assert all(tally.named(secret).statuses[200] for secret in (old, new))
    admitted = [int(at) for at in redis.lrange(window(new), 0, -1)]
    assert [sum(at < midnight for at in admitted), len(admitted)] == [QUOTA, 2 * QUOTA]
    clock.set(midnight + DAY_S * S - 1)
    assert retry_after(replicas[1], old) == 1
    clock.set(midnight + DAY_S * S)
    assert [replicas[1].auth(old).status, used(new)] == [200, 1]


def window(secret: str) -> str:
    """Return the key of the admitted times of *secret*."""
    return keys.window(record_key(secret).removeprefix("tokens:"))
