"""The sliding window compared with a simple model, on a real server."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings, strategies as st

from app.core.limits import Limit
from app.core.verdicts import Verdict
from app.store import keys
from app.store.ledger import RedisLedger
from app.store.pepper_check import PepperCheck
from devkit.builders import candidates

DIGEST = "ef" * 32
RECORD, WINDOW = keys.record(DIGEST), keys.window(DIGEST)
WINDOW_S = 2
WINDOW_US = WINDOW_S * 1_000_000


class Model:
    """A simple model that admits at most *limit* requests in any window."""

    def __init__(self) -> None:
        self.admitted: list[int] = []

    def admits(self, now: int, limit: int) -> bool:
        """Return whether a request at *now* would be admitted."""
        return sum(now - time < WINDOW_US for time in self.admitted) < limit

    def wait(self, now: int, limit: int) -> int:
        """Return the shortest time after which a request would be admitted, in microseconds."""
        return next(us for us in self._ends(now) if self.admits(now + us, limit))

    def _ends(self, now: int) -> list[int]:
        return sorted(time + WINDOW_US - now for time in self.admitted if time + WINDOW_US > now)

    def advance(self, us: int) -> None:
        """Simulate the passing of *us* microseconds."""
        self.admitted = [time - us for time in self.admitted]


def advance(client: Any, us: int) -> None:
    """Simulate the passing of *us* microseconds by making the stored timestamps older."""
    times = [int(time) - us for time in client.lrange(WINDOW, 0, -1)]
    if times:
        client.pipeline().delete(WINDOW).rpush(WINDOW, *times).execute()


steps = st.lists(
    st.one_of(
        st.just("take"),
        st.integers(0, WINDOW_US + 1).map(lambda us: ("advance", us)),
        st.integers(1, 6).map(lambda limit: ("limit", limit)),
    ),
    max_size=60,
)


@settings(max_examples=150)
@given(steps=steps)
def test_window_equals_its_model(real_client: Any, steps: list[Any]) -> None:
    """For any order of requests, pauses and changes of the limit, script and model give the same result."""
    real_client.flushall()
    real_client.hset(RECORD, "hosts", "*")
    model, limit = Model(), 3
    for step in steps:
        match step:
            case ("advance", us):
                advance(real_client, us)
                model.advance(us)
            case ("limit", new):
                limit = new
            case _:
                _take_both(real_client, model, limit)


def _take_both(client: Any, model: Model, limit: int) -> None:
    ledger = RedisLedger(client, PepperCheck(client, ["f"]), Limit(limit, WINDOW_S), 2)
    decision = ledger.take([DIGEST], candidates(hosts=["*"]))
    if decision.verdict is Verdict.ALLOWED:
        now = int(client.lindex(WINDOW, 0))
        assert model.admits(now, limit)
        model.admitted.append(now)
    else:
        assert decision.refusal
        oldest = int(client.lindex(WINDOW, limit - 1))
        now = oldest + WINDOW_US - decision.refusal.wait_us
        assert not model.admits(now, limit)
        assert decision.refusal.wait_us == model.wait(now, limit)
