"""What a token at its limit takes in Redis."""

from __future__ import annotations

from dataclasses import dataclass

from app.store import keys
from benchmarks import lineup
from benchmarks.fill import HOST, Filler
from devkit.http import Connection, bearer, forwarded
from devkit.redis_server import RedisServer
from devkit.service import Gunicorn, record_key

FULL_TOKENS, DEFAULT_LIMIT = 100, 100


@dataclass(frozen=True)
class FullToken:
    """What a token takes beside its record once its quota is used up, in bytes."""

    all: float
    window: int
    usage: int


def full_token() -> FullToken:
    """Use up the quota of some tokens; their window is long, so that none ends meanwhile."""
    with RedisServer() as redis, lineup.service(redis.port, DEFAULT_LIMIT, window_s=600) as service:
        warm_up, *texts = Filler(redis.client(), service).issue(FULL_TOKENS + 1)
        _use_up(service, warm_up)
        before = used_memory(redis)
        for text in texts:
            _use_up(service, text)
        _, window, usage = map(redis.client().memory_usage, keys.all_of(_digest(texts[0])))
        return FullToken((used_memory(redis) - before) / FULL_TOKENS, window or 0, usage or 0)


def _digest(text: str) -> str:
    return record_key(text).removeprefix("tokens:")


def _use_up(service: Gunicorn, text: str) -> None:
    with Connection(service.port) as connection:
        headers = [*forwarded(HOST), *bearer(text)]
        statuses = [connection.call("/auth", headers).status for _ in range(DEFAULT_LIMIT + 1)]
    assert statuses == [200] * DEFAULT_LIMIT + [429], statuses


def used_memory(redis: RedisServer) -> int:
    """Return how many bytes Redis has allocated, but for what its clients send and read."""
    memory = redis.client().info("memory")
    return int(memory["used_memory"] - memory["mem_clients_normal"])
