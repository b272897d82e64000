"""Wrong passwords are counted exactly, in bounded memory."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from app.core.audit import Rules, Wanted
from app.core.clients import networks_of
from app.core.limits import Limit
from app.core.logins import (
    KNOWN_S,
    MAX_KNOWN,
    WRONG_IN_ALL,
    WRONG_OF_KNOWN,
    WRONG_PER_CLIENT,
    WRONG_PER_NETWORK,
)
from app.store import keys
from app.store.audit import RedisAudit
from app.store.logins import RedisLogins
from app.store.trail import Trail
from devkit.builders import ACTOR

WRONG, KNOWN = keys.WRONG_LOGINS, keys.KNOWN_CLIENTS
N, ALL, WINDOW_S = WRONG_PER_CLIENT.max_requests, WRONG_IN_ALL.max_requests, WRONG_IN_ALL.window_s
ME = "203.0.113.7"


@pytest.fixture
def logins(client: Any) -> RedisLogins:
    """Return the store under test."""
    return RedisLogins(client, 2, Trail(client, Rules()))


def limit_for(logins: RedisLogins, client: str, *, is_right: bool = False) -> Limit | None:
    """Try a password as *client*, and return the limit that refuses it, if any."""
    refusal = logins.weigh(ACTOR, client, is_right=is_right)
    return refusal.limit if refusal else None


def advance(client: Any, seconds: float) -> None:
    """Simulate the passing of time by making the stored wrong passwords older."""
    entries = [entry.split(b" ", 1) for entry in client.lrange(WRONG, 0, -1)]
    older = [b"%d %s" % (int(at) - int(seconds * 1_000_000), names) for at, names in entries]
    if older:
        client.pipeline().delete(WRONG).rpush(WRONG, *older).execute()


def flood(logins: RedisLogins) -> None:
    """Try wrong passwords from distinct addresses until the overall limit is reached."""
    assert [limit_for(logins, f"10.0.{number}.1") for number in range(ALL)] == [None] * ALL


def test_limit_of_one_client(logins: RedisLogins) -> None:
    """After too many wrong passwords, a client's right password is refused as well; other clients are not."""
    assert [limit_for(logins, ME) for _ in range(N)] == [None] * N

    assert limit_for(logins, ME) == limit_for(logins, ME, is_right=True) == WRONG_PER_CLIENT
    assert limit_for(logins, "198.51.100.1", is_right=True) is None


def test_wait_depends_on_the_oldest(client: Any, logins: RedisLogins) -> None:
    """The wait depends on the oldest wrong password, and attempts while refused do not extend it."""
    began = time.monotonic()
    for _ in range(N):
        logins.weigh(ACTOR, ME, is_right=False)
        advance(client, WINDOW_S / 2 / N)
    for _ in range(50):
        logins.weigh(ACTOR, ME, is_right=False)
    refusal = logins.weigh(ACTOR, ME, is_right=True)
    passed_s = time.monotonic() - began

    assert refusal
    assert WINDOW_S / 2 - passed_s <= refusal.retry_after_s <= WINDOW_S / 2
    advance(client, refusal.wait_us / 1_000_000)
    assert limit_for(logins, ME, is_right=True) is None


def test_right_password_allows_no_additional_guesses(logins: RedisLogins) -> None:
    """Right passwords from the same address do not allow additional guesses."""
    typed = [*[False] * (N - 1), True] * 10
    limits = [limit_for(logins, ME, is_right=is_right) for is_right in typed]

    assert limits[: N + 1] == [None] * (N + 1)
    assert set(limits[N + 1 :]) == {WRONG_PER_CLIENT}


@pytest.mark.parametrize("key", [WRONG, KNOWN])
@pytest.mark.parametrize("kind", ["SET", "RPUSH", "SADD"])
def test_keys_of_another_type(client: Any, logins: RedisLogins, key: str, kind: str) -> None:
    """A key of the wrong type is replaced, counting starts again, and no client is locked out."""
    client.execute_command(kind, key, "junk")

    assert limit_for(logins, "198.51.100.1", is_right=True) is None
    assert [limit_for(logins, ME) for _ in range(N + 1)] == [None] * N + [WRONG_PER_CLIENT]


def test_reset_of_a_key_of_another_type(client: Any, logins: RedisLogins) -> None:
    """A reset also deletes a key of the wrong type."""
    client.set(WRONG, "junk")

    assert logins.reset() == 0
    assert not client.exists(WRONG)


def test_right_passwords_are_free(client: Any, logins: RedisLogins) -> None:
    """Right passwords, which a browser sends with every request, are not counted."""
    assert {limit_for(logins, ME, is_right=True) for _ in range(300)} == {None}
    assert client.llen(WRONG) == 0


def test_known_clients_share_one_limit(logins: RedisLogins) -> None:
    """Known clients together get no more guesses than the overall limit."""
    known = [f"10.0.{number}.1" for number in range(MAX_KNOWN)]
    accepted = 0
    for address in known:
        logins.weigh(ACTOR, address, is_right=True)
        accepted += [limit_for(logins, address) for _ in range(N - 1)].count(None)

    assert accepted == ALL


def test_known_clients_beyond_the_overall_limit(logins: RedisLogins) -> None:
    """After the overall limit is reached, known clients share one additional limit."""
    known = [f"10.9.{number}.1" for number in range(MAX_KNOWN)]
    for address in known:
        logins.weigh(ACTOR, address, is_right=True)
    flood(logins)
    limits = Counter(limit_for(logins, address) for address in known for _ in range(N // 4))

    assert limits == {None: WRONG_OF_KNOWN, WRONG_IN_ALL: MAX_KNOWN * (N // 4) - WRONG_OF_KNOWN}


@pytest.mark.parametrize(
    ("pattern", "prefix"),
    [("2001:db8:0:{:x}::/64", "56"), ("2001:db8:0:{:x}00::/64", "48"), ("203.0.113.{}", "24")],
)
def test_limit_of_a_network(logins: RedisLogins, pattern: str, prefix: str) -> None:
    """Addresses of one network share a limit; other networks are not affected."""
    limit = WRONG_PER_NETWORK[prefix]
    guesses = [limit_for(logins, pattern.format(number)) for number in range(250)]

    assert guesses == [None] * limit.max_requests + [limit] * (250 - limit.max_requests)
    assert limit_for(logins, pattern.format(9), is_right=True) == limit
    assert limit_for(logins, "198.51.100.1", is_right=True) is None
    assert limit_for(logins, "2001:db8:1::/64", is_right=True) is None


def test_known_client_in_a_network(logins: RedisLogins) -> None:
    """Guesses of neighbors in its network do not lock out a known client."""
    logins.weigh(ACTOR, "203.0.113.7", is_right=True)
    for number in range(100, 200):
        logins.weigh(ACTOR, f"203.0.113.{number}", is_right=False)

    assert limit_for(logins, "203.0.113.99", is_right=True) == WRONG_PER_NETWORK["24"]
    assert limit_for(logins, "203.0.113.7", is_right=True) is None


def test_two_networks_cannot_exhaust_the_overall_limit() -> None:
    """Two networks cannot exhaust the overall limit, even at their highest limits."""
    assert 2 * max(limit.max_requests for limit in WRONG_PER_NETWORK.values()) < ALL


def test_longest_wait_of_several_limits(client: Any, logins: RedisLogins) -> None:
    """A client that exceeds several limits gets the longest wait."""
    for number in range(ALL - N):
        logins.weigh(ACTOR, f"10.0.{number}.1", is_right=False)
    advance(client, WINDOW_S / 2)
    for _ in range(N):
        logins.weigh(ACTOR, ME, is_right=False)
    advance(client, WINDOW_S / 4)
    refusal = logins.weigh(ACTOR, ME, is_right=True)

    assert refusal
    assert refusal.limit == WRONG_PER_CLIENT
    assert WINDOW_S * 3 / 4 - 5 < refusal.retry_after_s <= WINDOW_S * 3 / 4


def test_overall_limit(client: Any, logins: RedisLogins) -> None:
    """Once the overall limit is reached, only known clients may try, within their own limit."""
    logins.weigh(ACTOR, ME, is_right=True)
    flood(logins)

    assert limit_for(logins, "198.51.100.1", is_right=True) == WRONG_IN_ALL
    assert [limit_for(logins, ME) for _ in range(N + 1)] == [None] * N + [WRONG_PER_CLIENT]
    advance(client, WINDOW_S)
    assert limit_for(logins, "198.51.100.1", is_right=True) is None


def test_known_clients_are_forgotten(client: Any, logins: RedisLogins) -> None:
    """A client whose last sign-in is too long ago is no longer known."""
    logins.weigh(ACTOR, ME, is_right=True)
    client.zincrby(KNOWN, -KNOWN_S, ME)
    flood(logins)

    assert limit_for(logins, ME, is_right=True) == WRONG_IN_ALL


def test_most_recent_clients_are_known(client: Any, logins: RedisLogins) -> None:
    """Only the most recent known clients are kept, and none for longer than KNOWN_S."""
    for number in range(MAX_KNOWN):
        logins.weigh(ACTOR, f"10.0.{number}.1", is_right=True)
    client.zincrby(KNOWN, -10, "10.0.0.1")
    client.zincrby(KNOWN, -KNOWN_S, "10.0.5.1")
    logins.weigh(ACTOR, ME, is_right=True)
    logins.weigh(ACTOR, "198.51.100.1", is_right=True)

    assert client.zcard(KNOWN) == MAX_KNOWN
    assert client.zscore(KNOWN, ME)
    assert not client.zscore(KNOWN, "10.0.0.1")
    assert 0 < client.ttl(KNOWN) <= KNOWN_S


def test_memory_is_bounded(client: Any, logins: RedisLogins) -> None:
    """A thousand guessing clients leave one list as long as the overall limit, which expires."""
    for number in range(1_000):
        logins.weigh(ACTOR, f"2001:db8:{number:x}::/64", is_right=False)

    mark, log = (keys.NOTED_REFUSAL + "*").encode(), keys.AUDIT.encode()
    assert {name.partition(b":{")[0] for name in client.keys("*")} == {WRONG.encode(), mark, log}
    assert 0 < client.pttl(mark) <= WINDOW_S * 1000
    assert len(RedisAudit(client, 2, Rules()).newest(Wanted(), None, 50).entries) == 1
    assert client.llen(WRONG) == ALL
    assert 0 < client.pttl(WRONG) <= WINDOW_S * 1000


def test_old_entries_are_dropped(client: Any, logins: RedisLogins) -> None:
    """Entries older than the window are dropped with the next wrong password."""
    for _ in range(5):
        logins.weigh(ACTOR, ME, is_right=False)
    advance(client, WINDOW_S)
    logins.weigh(ACTOR, ME, is_right=False)

    assert client.llen(WRONG) == 1


def test_clock_set_back(client: Any, logins: RedisLogins) -> None:
    """Timestamps from a clock far ahead lock out no client; a small clock step loses no entry."""
    for _ in range(N):
        logins.weigh(ACTOR, ME, is_right=False)
    advance(client, -30)
    assert limit_for(logins, ME) == WRONG_PER_CLIENT
    advance(client, -2 * WINDOW_S)
    assert limit_for(logins, ME, is_right=True) is None


def test_reset(client: Any, logins: RedisLogins) -> None:
    """A reset deletes all counters and keeps the known clients."""
    logins.weigh(ACTOR, ME, is_right=True)
    flood(logins)

    assert logins.reset() == ALL
    assert logins.reset() == 0
    assert limit_for(logins, "198.51.100.1", is_right=True) is None
    assert client.zscore(KNOWN, ME)


def test_full_memory(real_client: Any, request: pytest.FixtureRequest) -> None:
    """With Redis out of memory, the operator can sign in and guesses are still counted."""
    request.addfinalizer(lambda: real_client.config_set("maxmemory", 0))
    real_client.config_set("maxmemory", 1)
    logins = RedisLogins(real_client, 2, Trail(real_client, Rules()))

    assert limit_for(logins, ME, is_right=True) is None
    assert [limit_for(logins, ME) for _ in range(N + 1)] == [None] * N + [WRONG_PER_CLIENT]


def test_concurrent_attempts(real_client: Any) -> None:
    """Concurrent attempts, from one client or many, are counted exactly like sequential ones."""
    logins = RedisLogins(real_client, 20, Trail(real_client, Rules()))
    own_attempts = [ME] * 100
    other_attempts = [f"10.0.{number % 30}.1" for number in range(600)]
    with ThreadPoolExecutor(16) as pool:
        limits = Counter(pool.map(lambda address: limit_for(logins, address), own_attempts))
        overall_limits = Counter(pool.map(lambda address: limit_for(logins, address), other_attempts))

    assert limits == {None: N, WRONG_PER_CLIENT: 100 - N}
    assert overall_limits[None] == ALL - N


class Model:
    """A simple model of the limits, whose clock moves only between steps."""

    def __init__(self) -> None:
        self.now = 0
        self.wrong: list[tuple[int, str, bool]] = []  # time, client, whether it was beyond another limit
        self.known: set[str] = set()

    def weigh(self, client: str, *, is_right: bool) -> Limit | None:
        """Return what RedisLogins should return."""
        reached = self.reached(client)
        of_known = sum(beyond or whose in self.known for whose, beyond in self.recent())
        may_still_try = client in self.known and of_known < WRONG_OF_KNOWN
        if reached == WRONG_PER_CLIENT or (reached and not may_still_try):
            return reached
        if is_right:
            self.known.add(client)
        else:
            self.wrong.append((self.now, client, bool(reached)))
        return None

    def recent(self) -> list[tuple[str, bool]]:
        """Return the wrong passwords within the window."""
        return [(whose, beyond) for at, whose, beyond in self.wrong if self.now - at < WINDOW_S]

    def reached(self, client: str) -> Limit | None:
        """Return the first limit that *client* has reached."""
        recent = [whose for whose, _ in self.recent()]
        if recent.count(client) >= N:
            return WRONG_PER_CLIENT
        for network in networks_of(client):
            limit = WRONG_PER_NETWORK[network.rpartition("/")[2]]
            if [network in networks_of(whose) for whose in recent].count(True) >= limit.max_requests:
                return limit
        return WRONG_IN_ALL if len(recent) >= ALL else None


CLIENTS = [f"10.0.{n // 3}.{n % 3}" for n in range(9)] + [
    f"2001:db8:{n // 4}:{n % 4}00::/64" for n in range(9)
]

steps = st.lists(
    st.one_of(
        st.tuples(
            st.sampled_from(CLIENTS),
            st.sampled_from([1, N // 3, N - 1, N + 1]),
            st.booleans(),
        ),
        st.sampled_from([25, 75]),  # sums of these are never close to the window
    ),
    max_size=25,
)


@settings(max_examples=20)
@given(steps=steps)
def test_logins_equal_the_model(real_client: Any, steps: list[Any]) -> None:
    """For any order of passwords, clients and pauses, script and model give the same result."""
    real_client.flushall()
    logins, model = RedisLogins(real_client, 20, Trail(real_client, Rules())), Model()
    for step in steps:
        began = time.monotonic()
        if isinstance(step, int):
            advance(real_client, step)
            model.now += step
        else:
            client, times, is_right = step
            for _ in range(times):
                limit = limit_for(logins, client, is_right=is_right)
                assert limit == model.weigh(client, is_right=is_right)
        advance(real_client, began - time.monotonic())  # no time has passed for the model
