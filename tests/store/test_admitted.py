"""The count of what a rate limit counts now, and which ids are of stored tokens."""

from __future__ import annotations

from typing import Any

import pytest

from app.core.limits import Limit
from app.core.verdicts import Verdict
from app.store import keys, usage
from app.store.ledger import RedisLedger
from app.store.pepper_check import PepperCheck
from devkit.builders import candidates

DIGEST = "ab" * 32
LIMIT = Limit(3, 60)


@pytest.fixture(autouse=True)
def _record(client: Any) -> None:
    client.hset(keys.record(DIGEST), "hosts", "a.test")


def test_counts_what_take_counts(client: Any) -> None:
    """Limit minus count is what take.lua still admits; a refusal and a look take nothing."""
    ledger = RedisLedger(client, PepperCheck(client, ["f"]), LIMIT, 2)
    counts, verdicts = [], []
    for _ in range(5):
        counts += [usage.admitted(client, DIGEST, LIMIT)]
        verdicts += [ledger.take([DIGEST], candidates(hosts=("a.test",))).verdict]

    assert counts == [0, 1, 2, 3, 3]
    assert [verdict is Verdict.ALLOWED for verdict in verdicts] == [count < 3 for count in counts]


@pytest.mark.parametrize(
    ("ages_s", "count"),
    [((), 0), ((1, 2), 2), ((1, 59, 61), 2), ((61, 62), 0), ((1, 2, 3, 4), 3), ((-3600,), 0), ((-5, 1), 2)],
)
def test_window(client: Any, ages_s: tuple[int, ...], count: int) -> None:
    """Only times in the window that ends now count, at most the limit; those of a later clock do not."""
    second, microsecond = client.time()
    now = second * 1_000_000 + microsecond
    for age_s in ages_s:
        client.rpush(keys.window(DIGEST), now - age_s * 1_000_000)

    assert usage.admitted(client, DIGEST, LIMIT) == count


def test_other_types(client: Any) -> None:
    """A key of another type counts nothing."""
    client.set(keys.window(DIGEST), "x")
    assert usage.admitted(client, DIGEST, LIMIT) == 0


@pytest.mark.parametrize(("times", "count"), [(["x"], 0), ([""], 0), (["9e999"], 0), ([None, "x"], 1)])
def test_junk(client: Any, times: list[str | None], count: int) -> None:
    """What is no time counts nothing, and is no reason why the token can't be shown."""
    second, _ = client.time()
    client.rpush(keys.window(DIGEST), *(second * 1_000_000 if time is None else time for time in times))
    assert usage.admitted(client, DIGEST, LIMIT) == count
