"""python -m benchmarks.memory: the memory of Redis per token, idle and used."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from app.store import keys
from benchmarks import lineup, report
from benchmarks.fill import HOST, Filler
from benchmarks.lineup import Terms
from benchmarks.report import Part
from benchmarks.restricted import LISTS, QUOTA
from benchmarks.wrk import OK, Mode, Wrk, prepared
from devkit.http import Connection, bearer, forwarded
from devkit.redis_server import RedisServer
from devkit.service import Gunicorn
from devkit.waiting import until

TOKENS, DEFAULT_LIMIT, MODE = 500, 100, Mode(32)
READINGS, READ_EVERY_S = 10, 0.3
_SHORT_S, _LONG_S = 1, 600
_LIMITED = 429


@dataclass(frozen=True)
class Kind:
    """Tokens with these fields, and how far their limit is used up."""

    title: str
    fields: Mapping[str, str] = field(default_factory=dict)
    uses: int = 0

    @property
    def window_s(self) -> int:
        """Return a window that is over when it is measured, unless the limit is used up."""
        return _LONG_S if self.uses == DEFAULT_LIMIT else _SHORT_S


_FULL = f"used, {DEFAULT_LIMIT} requests in the window"
KINDS = [
    Kind("never used"),
    Kind("used, no request in the window", uses=1),
    Kind(_FULL, uses=DEFAULT_LIMIT),
    *(
        Kind(f"{title}; methods, paths, networks and a quota", LISTS | QUOTA, uses)
        for title, uses in (("never used", 0), (_FULL, DEFAULT_LIMIT))
    ),
]


def main() -> None:
    report.publish("MEMORY", part())


def part() -> Part:
    """Measure it, and return the table."""
    found = [(kind.title, f"{bytes_per_token(kind):.0f}") for kind in KINDS]
    how = f"Per token, with its part of the indexes, an e-mail address and a comment; {TOKENS} tokens each."
    return Part([], f"## Redis memory per token\n\n{how}\n\n{report.table(('token', 'bytes'), found)}")


def bytes_per_token(kind: Kind) -> float:
    """Return what a token of that kind adds to the memory of Redis."""
    with ExitStack() as stack:
        redis = stack.enter_context(RedisServer())
        terms = Terms(redis.port, limit=DEFAULT_LIMIT, window_s=kind.window_s)
        service = stack.enter_context(lineup.service(terms, trusted_proxies="127.0.0.1"))
        filler = Filler(redis.client(), service, **kind.fields)
        _use(redis, service, kind, filler.issue(1))  # so that scripts are loaded and connections open
        before = used_memory(redis)
        secrets = filler.issue(TOKENS)
        _use(redis, service, kind, secrets)
        return (used_memory(redis) - before) / TOKENS


def _use(redis: RedisServer, service: Gunicorn, kind: Kind, secrets: Sequence[str]) -> None:
    """Send requests with all tokens as often as it takes, and have a census note that they were used."""
    with prepared([MODE], secrets) as wrks:
        if kind.uses == DEFAULT_LIMIT:
            _use_up(service, wrks[MODE], secrets)
        elif kind.uses:
            assert set(_statuses(service, secrets)) == {OK}
            time.sleep(kind.window_s + 0.5)
    if kind.uses:
        noted = redis.client().zcard(keys.LAST_USED_AT) + len(secrets)
        service.page("/overview")
        until(lambda: redis.client().zcard(keys.LAST_USED_AT) == noted)
    for _ in redis.client().scan_iter():
        """Redis frees the keys that expired when it meets them."""


def _use_up(service: Gunicorn, wrk: Wrk, secrets: Sequence[str]) -> None:
    while set(_statuses(service, secrets)) != {_LIMITED}:
        wrk.run(service.port, 1)


def _statuses(service: Gunicorn, secrets: Sequence[str]) -> list[int]:
    with Connection(service.port) as connection:
        sent = ([*forwarded(HOST), *bearer(secret), ("X-Forwarded-For", "192.0.2.7")] for secret in secrets)
        return [connection.call("/auth", headers).status for headers in sent]


def used_memory(redis: RedisServer) -> int:
    """Return how many bytes Redis has allocated, without the buffers of its clients.

    It is the least of several readings, because Redis frees a buffer up to two seconds after it was used.
    """
    return min(_used_memory(redis) for _ in range(READINGS))


def _used_memory(redis: RedisServer) -> int:
    time.sleep(READ_EVERY_S)
    memory = redis.client().info("memory")
    return int(memory["used_memory"] - memory["mem_clients_normal"])


if __name__ == "__main__":
    main()
