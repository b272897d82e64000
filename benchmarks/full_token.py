"""The memory in Redis of a token that has used up its rate limit."""

from __future__ import annotations

from dataclasses import dataclass

from app.store import keys
from benchmarks import lineup
from benchmarks.fill import HOST, Filler
from benchmarks.lineup import Terms
from devkit.http import Connection, bearer, forwarded
from devkit.redis_server import RedisServer
from devkit.service import Gunicorn, record_key

FULL_TOKENS, DEFAULT_LIMIT = 100, 100


@dataclass(frozen=True)
class FullToken:
    """The bytes that such a token takes in addition to its record."""

    all: float
    window: int
    usage: int


def full_token() -> FullToken:
    """Use up the limit of some tokens, with a window that outlasts the measurement."""
    with RedisServer() as redis, _service(redis) as service:
        warm_up, *secrets = Filler(redis.client(), service).issue(FULL_TOKENS + 1)
        _use_up(service, warm_up)
        before = used_memory(redis)
        for secret in secrets:
            _use_up(service, secret)
        _, window, usage = map(redis.client().memory_usage, keys.all_of(_digest(secrets[0])))
        return FullToken((used_memory(redis) - before) / FULL_TOKENS, window or 0, usage or 0)


def _service(redis: RedisServer) -> Gunicorn:
    return lineup.service(Terms(redis.port, limit=DEFAULT_LIMIT, window_s=600))


def _digest(secret: str) -> str:
    return record_key(secret).removeprefix("tokens:")


def _use_up(service: Gunicorn, secret: str) -> None:
    with Connection(service.port) as connection:
        headers = [*forwarded(HOST), *bearer(secret)]
        statuses = [connection.call("/auth", headers).status for _ in range(DEFAULT_LIMIT + 1)]
    assert statuses == [200] * DEFAULT_LIMIT + [429], statuses


def used_memory(redis: RedisServer) -> int:
    """Return how many bytes Redis has allocated, without the buffers of its clients."""
    memory = redis.client().info("memory")
    return int(memory["used_memory"] - memory["mem_clients_normal"])
