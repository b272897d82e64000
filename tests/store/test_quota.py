"""Quotas: exact in each calendar period, beside the rate limit, and kept through every change of a token."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from hashlib import sha1
from typing import Any

import pytest
from hypothesis import example, given, settings, strategies as st

from app.core.errors import StoreUnavailableError
from app.core.limits import Limit
from app.core.quotas import bounds
from app.core.tokens import Fault
from app.core.verdicts import Decision, Verdict
from app.store import keys
from app.store.ledger import RedisLedger
from app.store.pepper_check import PepperCheck
from app.store.transport.scripts import Script
from devkit.builders import NOW, candidates
from devkit.replica import Replica
from devkit.waiting import until

DIGEST = "cd" * 32
RECORD, WINDOW = keys.record(DIGEST), keys.window(DIGEST)
CLOCK = f"{{{RECORD}}}:clock"
UNLIMITED = Limit(0, 60)
DAY_S = 86_400
MIDNIGHT = 1_795_478_400  # November 24, 2026
ALLOWED, EXCEEDED, LIMITED = Verdict.ALLOWED, Verdict.QUOTA_EXCEEDED, Verdict.RATE_LIMITED

SOURCE = Script("take").source
PERIOD_OF = SOURCE[
    SOURCE.index("local function period_of(") : SOURCE.index("-- Returns the bounds of the period")
]


class Clock:
    """A ledger that takes the time from a key, in the place of the server's own clock."""

    def __init__(self, client: Any, limit: Limit = UNLIMITED) -> None:
        self.client = client
        self._ledger = RedisLedger(client, PepperCheck(client, ["f"]), limit, deadline_s=5)
        script = self._ledger._take
        script.source = SOURCE.replace("redis.call('TIME')", f"redis.call('LRANGE', '{CLOCK}', 0, -1)")
        script.sha = sha1(script.source.encode(), usedforsecurity=False).hexdigest()
        assert script.source != SOURCE

    def set(self, second: int, us: int = 0) -> None:
        """Set the clock."""
        self.client.delete(CLOCK)
        self.client.rpush(CLOCK, second, us)

    def take(self, host: str = "*") -> Decision:
        """Return the decision on one request."""
        return self._ledger.take([DIGEST], candidates(hosts=(host,)))

    def take_at(self, second: int, us: int = 0) -> Verdict:
        """Return the verdict on one request at that time."""
        self.set(second, us)
        return self.take().verdict


def keep(client: Any, **fields: Any) -> None:
    """Keep a token with a quota of two requests per day, changed by *fields*."""
    client.hset(RECORD, mapping={"hosts": "*", "quota_max": 2, "quota_period": "day"} | fields)


def used(client: Any) -> int:
    """Return how many requests are counted."""
    return int((client.hget(RECORD, "quota_used") or b"0").split()[-1])


@settings(max_examples=300)
@example(second=951_782_400)  # February 29, 2000, the last day of an era
@given(second=st.integers(0, int(datetime(2170, 1, 1, tzinfo=UTC).timestamp())))
def test_calendar(fake_client: Any, second: int) -> None:
    """The script and Python agree on every day and month of two hundred years."""
    source = f"#!lua\n{PERIOD_OF}\nreturn {{ period_of(ARGV[1], tonumber(ARGV[2])) }}"
    for period in ("day", "month"):
        assert tuple(fake_client.eval(source, 0, period, second)) == bounds(period, second)


def test_the_quota(client: Any) -> None:
    """Exactly the quota is admitted; a refusal counts nothing and says when the period ends."""
    keep(client)
    clock = Clock(client)

    assert [clock.take_at(NOW, 250_000) for _ in range(2)] == [ALLOWED] * 2
    for _ in range(3):
        refused = clock.take()
        assert refused.verdict is EXCEEDED
        assert refused.refusal
        assert refused.refusal.limit == Limit(2, DAY_S, "quota")
        assert refused.refusal.other is None
        assert refused.refusal.wait_us == (MIDNIGHT + DAY_S - NOW) * 1_000_000 - 250_000
    assert used(client) == 2


@pytest.mark.parametrize(
    ("period", "last_day"), [("day", "2026-11-24"), ("month", "2026-11-30"), ("month", "2028-02-29")]
)
def test_end_of_a_period(client: Any, period: str, last_day: str) -> None:
    """The quota starts anew at midnight UTC, and a client that waits until then is admitted."""
    keep(client, quota_period=period)
    clock = Clock(client)
    end = int((datetime.fromisoformat(f"{last_day}T00:00Z") + timedelta(days=1)).timestamp())

    assert [clock.take_at(end - 1, 999_999) for _ in range(3)] == [ALLOWED, ALLOWED, EXCEEDED]
    refusal = clock.take().refusal
    assert refusal
    assert (refusal.wait_us, refusal.retry_after_s) == (1, 1)
    assert refusal.limit.window_s == end - bounds(period, end - 1)[0]
    assert [clock.take_at(end) for _ in range(3)] == [ALLOWED, ALLOWED, EXCEEDED]


def test_both_limits_or_neither(client: Any) -> None:
    """A request over one limit takes nothing from the other; the rate limit decides first."""
    keep(client, quota_max=3)
    clock = Clock(client, Limit(2, 60))

    assert [clock.take_at(NOW) for _ in range(4)] == [ALLOWED, ALLOWED, LIMITED, LIMITED]
    assert (used(client), client.llen(WINDOW)) == (2, 2)
    assert [clock.take_at(NOW + 60) for _ in range(3)] == [ALLOWED, EXCEEDED, EXCEEDED]
    assert (used(client), client.llen(WINDOW)) == (3, 2)
    client.hset(RECORD, "rate_limit_max", 1)
    assert clock.take().verdict is LIMITED


def test_both_policies(client: Any) -> None:
    """A refusal by either limit tells both of a token that has both."""
    rate, quota = Limit(1, 60), Limit(1, 30 * DAY_S, "quota")
    keep(client, quota_max=1, quota_period="month")
    clock = Clock(client, rate)
    clock.take_at(NOW)

    for second, reached, other in ((NOW, rate, quota), (NOW + 60, quota, rate)):
        clock.set(second)
        refusal = clock.take().refusal
        assert refusal
        assert (refusal.limit, refusal.other) == (reached, other)
        assert refusal.policies == [rate, quota]


@pytest.mark.parametrize(
    ("before_midnight_s", "waits_s"), [(40_000, 40_000), (61, 61), (60, 60), (59, 60), (1, 60)]
)
def test_both_limits_used_up(client: Any, before_midnight_s: int, waits_s: int) -> None:
    """The rate limit refuses, but the wait is the longer of the two: after it a client is admitted."""
    rate, quota = Limit(2, 60), Limit(2, DAY_S, "quota")
    keep(client)
    clock = Clock(client, rate)
    second = MIDNIGHT + DAY_S - before_midnight_s

    assert [clock.take_at(second, 250_000) for _ in range(3)] == [ALLOWED, ALLOWED, LIMITED]
    refusal = clock.take().refusal
    assert refusal
    assert (refusal.limit, refusal.other) == (rate, quota)
    assert refusal.wait_us == waits_s * 1_000_000 - 250_000 * (waits_s == before_midnight_s != 60)
    ends_us = second * 1_000_000 + 250_000 + refusal.wait_us
    assert clock.take_at(*divmod(ends_us - 1, 1_000_000)) in {LIMITED, EXCEEDED}
    assert clock.take_at(*divmod(ends_us, 1_000_000)) is ALLOWED


def test_both_limits_used_up_and_the_clock_set_back(client: Any) -> None:
    """The wait may be twice the period, as it is when the quota refuses alone."""
    keep(client)
    clock = Clock(client, Limit(2, 60))
    assert [clock.take_at(MIDNIGHT) for _ in range(2)] == [ALLOWED] * 2

    assert clock.take_at(MIDNIGHT - 30) is LIMITED
    refusal = clock.take().refusal
    assert refusal
    assert refusal.wait_us == (DAY_S + 30) * 1_000_000


def test_refusals_take_nothing(client: Any) -> None:
    """A request that is refused for its host, or a token that is off, takes nothing from the quota."""
    keep(client)
    clock = Clock(client)
    clock.set(NOW)

    assert clock.take("b.test").verdict is Verdict.WRONG_HOST
    client.hset(RECORD, "enabled", "0")
    assert clock.take().verdict is Verdict.DISABLED_TOKEN
    assert not client.hexists(RECORD, "quota_used")


@pytest.mark.parametrize("fields", [{"quota_max": "0"}, {"quota_max": "0", "quota_period": "?"}])
def test_no_quota(client: Any, fields: dict[str, str]) -> None:
    """A token without a quota is not counted, whatever its period is."""
    client.hset(RECORD, mapping={"hosts": "*"} | fields)

    assert Clock(client).take_at(NOW) is ALLOWED
    assert not client.hexists(RECORD, "quota_used")


def test_largest_quota(client: Any) -> None:
    """The largest quota, and one that others wrote with as many digits, is counted to its end."""
    keep(client, quota_max=9_999_999_999_999, quota_used=f"{MIDNIGHT} {MIDNIGHT + DAY_S} 9999999999998")

    assert [Clock(client).take_at(NOW) for _ in range(2)] == [ALLOWED, EXCEEDED]
    assert used(client) == 9_999_999_999_999


@pytest.mark.parametrize(("back_s", "then"), [(600, EXCEEDED), (DAY_S, EXCEEDED), (DAY_S + 1, ALLOWED)])
def test_clock_set_back(client: Any, back_s: int, then: Verdict) -> None:
    """A clock that is set back by less than a period gives no quota twice; by more, it locks nobody out."""
    keep(client)
    clock = Clock(client)
    assert [clock.take_at(MIDNIGHT) for _ in range(3)] == [ALLOWED, ALLOWED, EXCEEDED]

    assert clock.take_at(MIDNIGHT - back_s) is then
    if then is EXCEEDED:
        refusal = clock.take().refusal
        assert refusal
        assert refusal.wait_us == (DAY_S + back_s) * 1_000_000


BAD_NUMBERS = ["abc", "nan", "inf", "-1", "1.5", "0x10", "1e3", " 5 ", "", "9" * 14, "9" * 5000]
BAD = [
    *(("quota_max", text) for text in BAD_NUMBERS),
    *(("quota_period", text) for text in ("", "week", "Day", " day", "d" * 5000)),
    *(("quota_used", text) for text in ("", "5", "1 2", "1 2 -3", "1 2 3 4", "a b c", "1 2 " + "9" * 14)),
]


@pytest.mark.parametrize(("field", "text"), BAD)
def test_unreadable_quota(replica: Replica, field: str, text: str) -> None:
    """What can't be read of a quota is an error and not an unlimited token; an edit writes it anew."""
    name, secret = replica.issue(quota_max="2", quota_period="day")
    replica.client.hset(replica.record(secret), field, text)

    with pytest.raises(StoreUnavailableError):
        replica.ask(secret)
    assert not replica.client.exists(keys.window(replica.peppers.digest(secret)))
    token = replica.catalog.find(name)
    assert (token.fault, token.quota(NOW)) == (Fault.FIELDS, None)
    replica.edit(name, {"quota_max": "1", "quota_period": "day"})
    assert [replica.ask(secret) for _ in range(2)] == [ALLOWED, EXCEEDED]


def test_missing_period(replica: Replica) -> None:
    """A quota whose period others left out is an error, too, until an edit says which it is."""
    name, secret = replica.issue(quota_max="2", quota_period="day")
    replica.client.hdel(replica.record(secret), "quota_period")

    with pytest.raises(StoreUnavailableError):
        replica.ask(secret)
    assert replica.catalog.find(name).fault is Fault.FIELDS


@pytest.fixture
def replica(client: Any) -> Replica:
    """Return a replica on an empty database, on a day that does not end during a test."""
    until(lambda: client.time()[0] % DAY_S < DAY_S - 30)
    return Replica(client, "pepper")


def left(replica: Replica, name: str) -> int:
    """Return how many requests are left to a token now."""
    quota = replica.catalog.find(name).quota(int(replica.client.time()[0]))
    assert quota
    return quota.remaining


def test_edit_keeps_what_is_used(replica: Replica) -> None:
    """A quota that is raised or lowered counts what was used before; a period of another kind starts anew."""
    name, secret = replica.issue(quota_max="2", quota_period="month")
    assert [replica.ask(secret) for _ in range(3)] == [ALLOWED, ALLOWED, EXCEEDED]

    replica.edit(name, {"quota_max": "3"})
    assert left(replica, name) == 1
    assert [replica.ask(secret) for _ in range(2)] == [ALLOWED, EXCEEDED]
    replica.edit(name, {"quota_max": "1"})
    assert (left(replica, name), replica.ask(secret)) == (0, EXCEEDED)
    replica.edit(name, {"quota_period": "day"})
    assert [replica.ask(secret) for _ in range(2)] == [ALLOWED, EXCEEDED]
    replica.edit(name, {"quota_max": ""})
    assert replica.ask(secret) is ALLOWED
    assert replica.catalog.find(name).quota(NOW) is None


def test_rotation_keeps_what_is_used(replica: Replica) -> None:
    """Both secrets share one quota in a grace period, and the new one goes on with what is left."""
    name, old = replica.issue(quota_max="4", quota_period="month")
    verdicts = [replica.ask(old)]
    _, new = replica.rotate(name, "600")
    verdicts += [replica.ask(secret) for secret in (old, new)]
    _, last = replica.rotate(name, "0")
    verdicts += [replica.ask(last) for _ in range(2)]

    assert verdicts == [ALLOWED] * 4 + [EXCEEDED]
    assert left(replica, name) == 0


def test_new_pepper_keeps_what_is_used(single_client: Any) -> None:
    """A token that moves to a new pepper goes on with what is left."""
    _, secret = Replica(single_client, "old").issue(quota_max="2", quota_period="month")
    after = Replica(single_client, "new", "old")

    assert [after.ask(secret) for _ in range(3)] == [ALLOWED, ALLOWED, EXCEEDED]
    assert Replica(single_client, "new").ask(secret) is EXCEEDED


def test_deleted_token(replica: Replica) -> None:
    """Nothing is left of the quota of a token that was deleted, only its expiry marker."""
    name, secret = replica.issue(quota_max="2", quota_period="day")
    replica.ask(secret)
    replica.delete(name)

    assert replica.client.keys("*tokens:*") == [keys.ended(replica.peppers.digest(secret)).encode()]


class Model:
    """A simple model of a token with both limits."""

    def __init__(self) -> None:
        self.now, self.most, self.period = NOW, 3, "day"
        self.window: list[int] = []
        self.counted: tuple[str, int, int] = ("", 0, 0)
        self.used = 0

    def take(self, rate: Limit) -> Verdict:
        """Return the expected verdict on one request."""
        kind, starts, ends = self.counted
        if kind != self.period or not 2 * starts - ends <= self.now < ends:
            self.counted, self.used = (self.period, *bounds(self.period, self.now)), 0
        recent = [at for at in self.window if at > self.now - rate.window_s]
        if len(recent) >= rate.max_requests:
            return LIMITED
        if self.used >= self.most:
            return EXCEEDED
        self.window.append(self.now)
        self.used += 1
        return ALLOWED


pauses = st.sampled_from([0, 1, 30, 3600, DAY_S // 2, DAY_S, 20 * DAY_S])
steps = st.lists(
    st.one_of(
        st.just("take"),
        st.just("take"),
        pauses.map(lambda seconds: ("pass", seconds)),
        st.sampled_from([DAY_S, 40 * DAY_S]).map(lambda seconds: ("set back", seconds)),
        st.integers(1, 6).map(lambda most: ("quota_max", most)),
        st.sampled_from(["day", "month"]).map(lambda period: ("quota_period", period)),
    ),
    max_size=50,
)


@settings(max_examples=150)
@given(steps=steps)
def test_quota_equals_its_model(real_client: Any, steps: list[Any]) -> None:
    """For any order of requests, pauses, edits and steps of the clock, script and model agree."""
    real_client.flushall()
    keep(real_client, quota_max=3)
    rate = Limit(4, 10)
    clock, model = Clock(real_client, rate), Model()
    for step in steps:
        match step:
            case ("pass", seconds):
                model.now += seconds
            case ("set back", seconds):
                model.now, model.window = model.now - seconds, []
            case ("quota_max", most):
                model.most = most
                real_client.hset(RECORD, "quota_max", most)
            case ("quota_period", period):
                model.period = period
                real_client.hset(RECORD, "quota_period", period)
            case _:
                assert clock.take_at(model.now) is model.take(rate)
