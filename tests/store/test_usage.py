"""How often a token was used: what take.lua counts is what is read."""

from __future__ import annotations

from struct import pack
from typing import Any

import pytest

from app.core.limits import Limit
from app.core.usage import DAYS, HOURS, Counts, Usage, total
from app.store import keys, usage
from app.store.ledger import RedisLedger
from app.store.pepper_check import PepperCheck
from devkit.waiting import until

DIGEST = "ab" * 32
RECORD, USAGE = keys.record(DIGEST), keys.usage(DIGEST)
HOUR_S = 3600


def take(client: Any, patterns: tuple[str, ...] = ("a.test",), most: int = 100) -> None:
    """Use the token once."""
    RedisLedger(client, PepperCheck(client, ["f"]), Limit(most, 60), 2).take([DIGEST], patterns)


def read(client: Any) -> Usage:
    """Return the usage up to now."""
    return usage.parse(client.get(USAGE), int(client.time()[0]))


@pytest.fixture(autouse=True)
def _record(client: Any) -> None:
    client.hset(RECORD, "hosts", "a.test")
    until(lambda: client.time()[0] % HOUR_S < HOUR_S - 30)  # or the hour may end amid a test


def test_counts_by_what_became_of_it(client: Any) -> None:
    """Every request of a known token is counted, in its hour and in its day, by its end."""
    take(client)
    take(client, ("b.test",))
    take(client, most=1)
    client.hset(RECORD, "enabled", "0")
    take(client)

    expected = Counts(allowed=1, wrong_host=1, rate_limited=1, inactive=1)
    assert (read(client).hours[-1], read(client).days[-1]) == (expected, expected)
    assert expected.refused == 3


def test_unused_token() -> None:
    """A token that was never used has counts of nothing."""
    assert usage.parse(None, 0) == Usage()
    assert total(Usage().days) == Counts()


def test_times_of_use(client: Any) -> None:
    """First and last use are kept to the minute, and only for what was admitted."""
    take(client, ("b.test",))
    assert client.hget(RECORD, "last_used_at") is None
    take(client)
    client.hset(RECORD, mapping={"first_used_at": "60", "last_used_at": "120"})
    take(client)

    seconds, _ = client.time()
    assert client.hget(RECORD, "first_used_at") == b"60"
    assert seconds - 120 < int(client.hget(RECORD, "last_used_at")) <= seconds


def shift(client: Any, hours: int) -> None:
    """Let *hours* pass, by laying out what was counted as if it had been counted earlier."""
    now = int(client.time()[0])
    known = read(client)
    then = now // HOUR_S - hours
    text = bytearray(pack(">I", then) + bytes((HOURS + DAYS) * 16))
    for slots, counts, last, at in (
        (HOURS, known.hours, then, 4),
        (DAYS, known.days, then // 24, 4 + HOURS * 16),
    ):
        for age, c in enumerate(reversed(counts)):
            start = at + (last - age) % slots * 16
            text[start : start + 16] = pack(">4I", c.allowed, c.wrong_host, c.rate_limited, c.inactive)
    client.set(USAGE, bytes(text))


@pytest.mark.parametrize("hours", [1, 2, 23, 24, 47])
def test_hours_pass(client: Any, hours: int) -> None:
    """An hour's counts stay in their hour while others are counted."""
    take(client)
    shift(client, hours)
    take(client)

    seen = {age: c.allowed for age, c in enumerate(reversed(read(client).hours)) if c != Counts()}
    assert seen == {0: 1, hours: 1}


@pytest.mark.parametrize("hours", [48, 49, 24 * 89, 24 * 400])
def test_hours_are_forgotten(client: Any, hours: int) -> None:
    """What is older than 48 hours is in no hour, and what is older than 90 days in no day."""
    take(client)
    shift(client, hours)
    take(client)

    days = {age for age, c in enumerate(reversed(read(client).days)) if c != Counts()}
    assert total(read(client).hours).allowed == 1
    assert days <= {0, hours // 24, hours // 24 + 1}
    assert total(read(client).days).allowed == (2 if hours < 24 * 89 else 1 if hours > 24 * 90 else 2)


def test_old_counts_read_later(client: Any) -> None:
    """Counts that nobody has added to since are read as of now."""
    take(client)
    now = int(client.time()[0])

    later = usage.parse(client.get(USAGE), now + 3 * HOUR_S)
    assert later.hours[-4].allowed == 1
    assert total(later.hours[-3:]) == Counts()
    assert usage.parse(client.get(USAGE), now + 91 * 24 * HOUR_S) == Usage()


def test_usage_is_bounded(client: Any) -> None:
    """The usage of a token takes 2.2 kB at most, however it is used."""
    for hours in (0, 30, 100, 5000):
        shift(client, hours)
        take(client)

    assert client.strlen(USAGE) <= 4 + (HOURS + DAYS) * 16


def test_usage_ends_with_the_token(client: Any) -> None:
    """The usage expires with the token, and a use prolongs neither."""
    client.expire(RECORD, 60)
    take(client)
    client.expire(RECORD, 30)
    take(client)

    assert client.ttl(RECORD) <= 30
    assert 0 < client.ttl(USAGE) <= 60
