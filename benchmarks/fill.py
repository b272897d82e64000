"""Tokens by the thousand, written as the service writes them."""

from __future__ import annotations

import random
import time
from hashlib import sha256
from typing import Any

from app.core import tokens
from app.core.tokens import TokenSpec
from app.store import keys, records
from tests.harness import PEPPER

HOST = "a.test"
SPEC = TokenSpec((HOST,), "somebody@example.com", "laptop in the office")
BATCH = 2000


def issue(client: Any, count: int) -> list[str]:
    """Write *count* tokens and return their texts."""
    texts = [tokens.mint("acl") for _ in range(count)]
    _write(client, [sha256((text + PEPPER).encode()).hexdigest() for text in texts], time.time_ns() // 10**6)
    return texts


def fill(client: Any, count: int) -> None:
    """Write *count* tokens, a millisecond apart and older than now, whose texts nobody knows."""
    start_ms = time.time_ns() // 10**6 - 10**9
    for first in range(0, count, BATCH):
        digests = [random.randbytes(32).hex() for _ in range(min(BATCH, count - first))]
        _write(client, digests, start_ms + first)


def _write(client: Any, digests: list[str], first_ms: int) -> None:
    pipe = client.pipeline(transaction=False)
    entries = {}
    for made_ms, digest in enumerate(digests, first_ms):
        token_id = tokens.mint_id(made_ms)
        entries[token_id.encode() + bytes.fromhex(digest)] = 0
        fields = records.to_fields(SPEC, token_id, made_ms // 1000)
        pipe.hset(keys.record(digest), mapping=fields)
    pipe.zadd(keys.INDEX, entries)
    pipe.execute()
