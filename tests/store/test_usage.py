"""Usage counters: what take.lua counts is what ``usage.parse`` reads."""

from __future__ import annotations

from struct import pack
from typing import Any

import pytest

from app.core.limits import Limit
from app.core.usage import COUNTERS, DAYS, HOURS, Counts, Usage, total
from app.core.verdicts import Verdict
from app.store import keys, usage
from app.store.ledger import RedisLedger
from app.store.pepper_check import PepperCheck
from devkit.builders import candidates
from devkit.waiting import until

DIGEST = "ab" * 32
RECORD, USAGE = keys.record(DIGEST), keys.usage(DIGEST)
HOUR_S = 3600


def take(client: Any, patterns: tuple[str, ...] = ("a.test",), max_requests: int = 100) -> Verdict:
    """Make one request with the token, and return the verdict."""
    ledger = RedisLedger(client, PepperCheck(client, ["f"]), Limit(max_requests, 60), 2)
    return ledger.take([DIGEST], candidates(hosts=patterns)).verdict


def read(client: Any) -> Usage:
    """Return the current usage."""
    return usage.parse(client.get(USAGE), int(client.time()[0]))


@pytest.fixture(autouse=True)
def _record(client: Any) -> None:
    client.hset(RECORD, "hosts", "a.test")
    until(lambda: client.time()[0] % HOUR_S < HOUR_S - 30)  # so that the hour does not end during a test


def test_counts_by_verdict(client: Any) -> None:
    """Every request with a known token is counted by its verdict, per hour and per day."""
    take(client)
    take(client, ("b.test",))
    take(client, max_requests=1)
    client.hset(RECORD, "enabled", "0")
    take(client)

    expected = Counts(allowed=1, wrong_host=1, rate_limited=1, inactive=1)
    assert (read(client).hours[-1], read(client).days[-1]) == (expected, expected)
    assert expected.refused == 3


CHANGES: dict[Verdict, dict[str, str]] = {
    Verdict.ALLOWED: {"enabled": "1"},
    Verdict.WRONG_HOST: {"hosts": "b.test"},
    Verdict.WRONG_METHOD: {"methods": "GET"},
    Verdict.WRONG_PATH: {"paths": "/*"},
    Verdict.WRONG_NETWORK: {"networks": "0.0.0.0/0"},
    Verdict.RATE_LIMITED: {"rate_limit_max": "1"},
    Verdict.QUOTA_EXCEEDED: {"quota_max": "1", "quota_period": "month", "quota_used": "0 99999999999 1"},
    Verdict.DISABLED_TOKEN: {"enabled": "0"},
    Verdict.TOKEN_NOT_YET_VALID: {"not_before": "99999999999"},
}


@pytest.mark.parametrize(
    "verdict", [verdict for counter in COUNTERS.values() for verdict in counter.verdicts]
)
def test_counter_of_each_verdict(client: Any, verdict: Verdict) -> None:
    """take.lua adds to the counter that core/usage.py declares for the verdict, by hour and by day."""
    take(client)
    client.hset(RECORD, mapping=CHANGES[verdict])
    before = read(client)
    assert take(client) is verdict

    name = next(name for name, counter in COUNTERS.items() if verdict in counter.verdicts)
    for was, now in ((before.hours, read(client).hours), (before.days, read(client).days)):
        assert now[-1] == was[-1]._replace(**{name: getattr(was[-1], name) + 1})


def test_counters_are_declared_once() -> None:
    """Each number of Counts has its verdicts, and no verdict counts twice."""
    counted = [verdict for counter in COUNTERS.values() for verdict in counter.verdicts]

    assert tuple(COUNTERS) == Counts._fields
    assert len(counted) == len(set(counted))


def test_unused_token() -> None:
    """The counters of an unused token are zero."""
    assert usage.parse(None, 0) == Usage()
    assert total(Usage().days) == Counts()


def test_times_of_use(client: Any) -> None:
    """First and last use are stored to the minute, and only for allowed requests."""
    take(client, ("b.test",))
    assert client.hget(RECORD, "last_used_at") is None
    take(client)
    client.hset(RECORD, mapping={"first_used_at": "60", "last_used_at": "120"})
    take(client)

    seconds, _ = client.time()
    assert client.hget(RECORD, "first_used_at") == b"60"
    assert seconds - 120 < int(client.hget(RECORD, "last_used_at")) <= seconds


def shift(client: Any, hours: int) -> None:
    """Simulate the passing of *hours* by rewriting the counters as if they were that much older."""
    now = int(client.time()[0])
    known = read(client)
    then = now // HOUR_S - hours
    counters = bytearray(pack(">I", then) + bytes((HOURS + DAYS) * 16))
    for slots, counts, last, at in (
        (HOURS, known.hours, then, 4),
        (DAYS, known.days, then // 24, 4 + HOURS * 16),
    ):
        for age, c in enumerate(reversed(counts)):
            start = at + (last - age) % slots * 16
            counters[start : start + 16] = pack(">4I", c.allowed, c.wrong_host, c.rate_limited, c.inactive)
    client.set(USAGE, bytes(counters))


@pytest.mark.parametrize("hours", [1, 2, 23, 24, 47])
def test_hours_pass(client: Any, hours: int) -> None:
    """Counts stay in their hour when later hours are counted."""
    take(client)
    shift(client, hours)
    take(client)

    allowed_by_age = {age: c.allowed for age, c in enumerate(reversed(read(client).hours)) if c != Counts()}
    assert allowed_by_age == {0: 1, hours: 1}


@pytest.mark.parametrize("hours", [48, 49, 24 * 89, 24 * 400])
def test_hours_are_forgotten(client: Any, hours: int) -> None:
    """Counts older than 48 hours are in no hour, and counts older than 90 days in no day."""
    take(client)
    shift(client, hours)
    take(client)

    days = {age for age, c in enumerate(reversed(read(client).days)) if c != Counts()}
    assert total(read(client).hours).allowed == 1
    assert days <= {0, hours // 24, hours // 24 + 1}
    assert total(read(client).days).allowed == (2 if hours < 24 * 89 else 1 if hours > 24 * 90 else 2)


def test_old_counts_read_later(client: Any) -> None:
    """Old counts are read relative to the current time."""
    take(client)
    now = int(client.time()[0])

    later = usage.parse(client.get(USAGE), now + 3 * HOUR_S)
    assert later.hours[-4].allowed == 1
    assert total(later.hours[-3:]) == Counts()
    assert usage.parse(client.get(USAGE), now + 91 * 24 * HOUR_S) == Usage()


def test_usage_is_bounded(client: Any) -> None:
    """The counters of a token never exceed 2.2 kB."""
    for hours in (0, 30, 100, 5000):
        shift(client, hours)
        take(client)

    assert client.strlen(USAGE) <= 4 + (HOURS + DAYS) * 16


def test_usage_expires_with_the_token(client: Any) -> None:
    """The counters expire with the token, and requests extend neither."""
    client.expire(RECORD, 60)
    take(client)
    client.expire(RECORD, 30)
    take(client)

    assert client.ttl(RECORD) <= 30
    assert 0 < client.ttl(USAGE) <= 60


def test_hours_of_many_tokens(client: Any) -> None:
    """The hours of many tokens, read at once, are those of each; one with another type of key has none."""
    take(client)
    client.set(keys.usage("cd" * 32), client.get(USAGE)[:40])
    client.lpush(keys.usage("ef" * 32), "junk")
    now_s = int(client.time()[0])
    digests = [DIGEST, "00" * 32, "cd" * 32, "ef" * 32]
    found = usage.read_hours(client, digests, now_s)

    texts = [client.get(USAGE), None, client.get(keys.usage("cd" * 32)), None]
    assert [each.hours for each in found] == [usage.parse(text, now_s).hours for text in texts]
    assert found[0].last_24_hours.allowed == 1
