"""Any number of requests with unknown tokens, and what they cost Redis."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from app.core.tokens import checksum
from devkit import corpus
from devkit.wire import bearer, converse, request

_BATCH = 40  # what the express lane reads at once
_CLIENTS = 32
_USUAL = (b"Host: auth:8000", b"X-Forwarded-Host: a.test")


class Size(NamedTuple):
    """How much Redis stores, and how many scripts it has run."""

    keys: int
    memory_bytes: int
    scripts: int


def size(redis: Any) -> Size:
    """Return how much *redis* stores now."""
    scripts = redis.info("commandstats").get("cmdstat_evalsha", {}).get("calls", 0)
    return Size(redis.dbsize(), redis.info("memory")["used_memory"], scripts)


def flood(port: int, count: int) -> Counter[int]:
    """Send *count* unknown tokens to /auth, pipelined on each connection, and count the statuses."""
    with ThreadPoolExecutor(_CLIENTS) as pool:
        return sum(pool.map(lambda _: _batch(port), range(count // _BATCH)), Counter())


def _batch(port: int) -> Counter[int]:
    data = b"".join(request(corpus.PLAIN, *_USUAL, bearer(token)) for token in _unknown(_BATCH))
    return Counter(answer.status for answer in converse(port, data))


def _unknown(count: int) -> Iterator[str]:
    """Yield tokens that only Redis can refuse: half of them with our checksum, half in an older format."""
    for number in range(count):
        secret = secrets.token_hex(16)
        yield f"acl_{secret}{checksum(secret)}" if number % 2 else secret
