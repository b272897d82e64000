"""The stage of a fault: Redis, the service, a relay between them, and a load of several tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from devkit.redis_server import RedisServer
from devkit.relay import Relay
from devkit.service import Gunicorn
from devkit.tally import Request, auth, livez

PER_SECOND = 200
BUSY = 4.0
OK, UNAVAILABLE = 200, 503
NO_EVICTION = ("--maxmemory-policy", "noeviction")
GOOD, UNKNOWN, ELSEWHERE = "good", "unknown", "wrong host"
OUTAGE: Mapping[str, int] = dict.fromkeys((GOOD, UNKNOWN, ELSEWHERE), UNAVAILABLE)
AS_EVER: Mapping[str, int] = {}


@dataclass
class Stage:
    """All that runs during one fault."""

    redis: RedisServer
    relay: Relay
    service: Gunicorn
    good: str
    during_s: float
    stack: ExitStack
    requests: list[Request]
    kept: dict[str, Any] = field(default_factory=dict)  # what one action stores for another

    @property
    def client(self) -> Any:
        """Return a direct connection to Redis, which does not pass through the relay."""
        return self.redis.client()

    def command(self, line: str) -> Any:
        """Run one Redis command."""
        return self.client.execute_command(*line.split())


Action = Callable[[Stage], object]
Watch = Callable[[Stage], Iterable[str]]


def nothing(_: Stage) -> None:
    """Do nothing."""


def no_notes(_: Stage) -> Iterable[str]:
    """Return no notes."""
    return ()


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong, how it ends, and the status that each request must get during it."""

    name: str
    inject: Action
    heal: Action
    during: Mapping[str, int] = field(default_factory=lambda: OUTAGE)
    watch: Watch = no_notes  # during the fault; yields notes, which begin with "!" for a broken promise
    prepare: Action = nothing
    verify: Watch = no_notes  # after the fault, as watch
    options: Sequence[str] = ()
    settings: Mapping[str, object] = field(default_factory=dict)
    relayed: bool = False
    aof: bool = False
    in_quick: bool = False


@dataclass(frozen=True)
class Pace:
    """How long each phase lasts, how many requests per second there are, and what a busy machine may miss.

    *slack* multiplies promised times; *stray* is the share of answers that may be a 503 without a fault.
    """

    before_s: float
    during_s: float
    after_s: float
    per_second: int
    slack: float
    stray: float


FULL = Pace(3, 10, 5, PER_SECOND, slack=1, stray=0.01)
QUICK = Pace(0.5, 1.5, 0.5, 60, slack=BUSY, stray=0.5)  # where other tests run too


@contextmanager
def staged(fault: Fault, during_s: float) -> Iterator[Stage]:
    """Start everything that *fault* needs, and stop it afterwards."""
    with ExitStack() as stack:
        server = stack.enter_context(RedisServer(aof=fault.aof, options=(*NO_EVICTION, *fault.options)))
        relay = stack.enter_context(Relay(server.port))
        port = relay.port if fault.relayed else server.port
        usual = {"log_level": "warning", "rate_limit_max": 0, "redis_deadline_ms": None}
        service = Gunicorn(port, **usual | dict(fault.settings))
        stack.enter_context(service)
        good = service.issue("a.test")
        stage = Stage(server, relay, service, good, during_s, stack, _requests(good))
        fault.prepare(stage)
        yield stage


def _requests(good: str) -> list[Request]:
    return [
        auth(GOOD, good, 200),
        auth(UNKNOWN, "no-such-token", 401),
        auth(ELSEWHERE, good, 403, host="b.test"),
        livez(),
    ]
