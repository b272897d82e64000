"""`python -m chaos.callers REDIS RELAY COMPLETED SEED`: callers that each know the right decision.

It runs as a worker does, patched first of all, and prints its counts as JSON.
"""

# ruff: noqa: E402 - patched before anything imports redis
from gevent import monkey

monkey.patch_all()

import json
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import gevent
import redis

from app.assembly import build_services
from app.core.errors import StoreUnavailableError
from app.core.gate import Gate
from app.core.registry import Registry
from app.core.verdicts import Attempt, Decision, Identity, Verdict
from app.store import keys
from devkit.builders import ACTOR, make_settings

TOKENS = 60
CALLERS = 150
DEADLINES_S = (0.001, 0.01, 0.05, 1.0)
KILL_PERIOD_S = 0.02
PATIENCE_S = 300
DAY_S = "86400"


@dataclass(frozen=True)
class Expectation:
    """An attempt and the only right decision about it."""

    attempt: Attempt
    verdict: Verdict
    identity: Identity | None

    def is_met(self, decision: Decision) -> bool:
        """Return whether *decision* is the right one."""
        return (decision.verdict, decision.identity) == (self.verdict, self.identity)


def expectations(registry: Registry, gate: Gate, client: redis.Redis) -> list[Expectation]:
    """Create tokens for every verdict; allowed ones are also presented for a host that they do not list."""
    return [one for number in range(TOKENS) for one in _of(number, registry, gate, client)]


def _of(number: int, registry: Registry, gate: Gate, client: redis.Redis) -> Iterator[Expectation]:
    host = f"h{number}.test"
    verdicts = (
        Verdict.ALLOWED,
        Verdict.DISABLED_TOKEN,
        Verdict.TOKEN_NOT_YET_VALID,
        Verdict.RATE_LIMITED,
        Verdict.UNKNOWN_TOKEN,
    )
    verdict = verdicts[number % len(verdicts)]
    fields = {"hosts": host, "email": f"{number}@mail.test", "comment": f"comment {number} " * (number % 5)}
    limit = {
        "rate_limit_max": "1" if verdict is Verdict.RATE_LIMITED else "0",
        "rate_limit_window_sec": DAY_S,
    }
    later = {"not_before": "2999-01-01T00:00:00Z"} if verdict is Verdict.TOKEN_NOT_YET_VALID else {}
    issued = registry.issue(ACTOR, fields | limit | later)
    token, secret = issued.token, issued.secret
    right, wrong = Attempt(secret, host), Attempt(secret, f"x{number}.test")
    identity = Identity(token.id.encode(), token.email.encode(), token.comment.encode())
    if verdict is Verdict.UNKNOWN_TOKEN:
        client.delete(keys.record(token.digest))
    if verdict is Verdict.DISABLED_TOKEN:
        registry.enable(ACTOR, token, enabled=False)
    if verdict is Verdict.RATE_LIMITED:
        gate.check(right)
    yield Expectation(right, verdict, None if verdict is Verdict.UNKNOWN_TOKEN else identity)
    if verdict in {Verdict.ALLOWED, Verdict.RATE_LIMITED}:
        yield Expectation(wrong, Verdict.WRONG_HOST, identity)


class Callers:
    """Concurrent callers, which are replaced whenever they are killed or run out of time."""

    def __init__(self, gate: Gate, expected: list[Expectation], goal: int) -> None:
        self.counted: Counter[str] = Counter({"completed": 0, "mixed_up": 0, "refused": 0, "killed": 0})
        self.examples: list[str] = []
        self._gate = gate
        self._expected = expected
        self._goal = goal
        self._until = time.monotonic() + PATIENCE_S

    def run(self) -> None:
        """Run until enough calls are completed."""
        callers = [gevent.spawn(self._call) for _ in range(CALLERS)]
        while not self._is_done():
            gevent.sleep(KILL_PERIOD_S)
            place = random.randrange(CALLERS)
            callers[place].kill(block=False)
            callers[place] = gevent.spawn(self._call)
            self.counted["killed"] += 1
        gevent.killall(callers)

    def _is_done(self) -> bool:
        return self.counted["completed"] >= self._goal or time.monotonic() > self._until

    def _call(self) -> None:
        while not self._is_done():
            expected = random.choice(self._expected)
            with suppress(gevent.Timeout), gevent.Timeout(random.choice(DEADLINES_S)):
                self._compare(expected)
            gevent.sleep(0)

    def _compare(self, expected: Expectation) -> None:
        try:
            decision = self._gate.check(expected.attempt)
        except (
            StoreUnavailableError,
            ValueError,
            LookupError,
            TypeError,
        ):  # each of which the service answers with 503
            self.counted["refused"] += 1
            return
        self.counted["completed"] += 1
        if not expected.is_met(decision):
            self.counted["mixed_up"] += 1
            self.examples.append(f"{expected} got {decision}")


def main() -> None:
    """Create the tokens directly, then present them through the relay."""
    direct, relayed, goal, seed = map(int, sys.argv[1:])
    random.seed(seed)
    plain = build_services(make_settings(REDIS_PORT=direct), concurrent=True)
    spoiled = build_services(make_settings(REDIS_PORT=relayed), concurrent=True)
    expected = expectations(plain.registry, plain.gate, redis.Redis(port=direct))
    callers = Callers(spoiled.gate, expected, goal)
    callers.run()
    print(json.dumps(callers.counted | {"examples": callers.examples[:3]}))


if __name__ == "__main__":
    main()
