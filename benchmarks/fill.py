"""Thousands of tokens: copies of one that the service itself wrote."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from itertools import chain, product
from pathlib import Path
from typing import Any

from app.core import tokens
from app.store import keys
from devkit.service import Gunicorn, record_key

HOST = "a.test"
EMAIL, COMMENT = "somebody@example.com", "laptop in the office"
BATCH = 2000
SCRIPT = Path(__file__).with_name("fill.lua")
_TAIL_CHARS = 7
_AGE_MS = 10**10  # so old that every batch gets a millisecond in the past


class Filler:
    """Writes tokens into Redis as the service would, but many at a time."""

    def __init__(self, client: Any, service: Gunicorn, **fields: str) -> None:
        self._client = client
        self._next_ms = time.time_ns() // 10**6 - _AGE_MS
        secret = service.issue(HOST, **{"email": EMAIL, "comment": COMMENT} | fields)
        model = client.hgetall(record_key(secret))
        self._shared = [*chain(*(item for item in model.items() if item[0] not in {"id", "created_at"}))]
        self._copy = client.register_script(SCRIPT.read_text("ascii"))

    def issue(self, count: int) -> list[str]:
        """Write *count* tokens and return their secrets."""
        secrets = [tokens.mint("acl") for _ in range(count)]
        self._write([record_key(secret).removeprefix("tokens:") for secret in secrets])
        return secrets

    def fill(self, count: int) -> None:
        """Write *count* tokens without secrets."""
        for first in range(0, count, BATCH):
            self._write([random.randbytes(32).hex() for _ in range(min(BATCH, count - first))])

    def _write(self, digests: Sequence[str]) -> None:
        """Write one batch, for speed with the same millisecond and consecutive ids instead of random ones."""
        stamp, created_at = tokens.mint_id(self._next_ms)[:-_TAIL_CHARS], self._next_ms // 1000
        self._next_ms += 1
        own: list[str | int | bytes] = []
        for digest, tail in zip(digests, product(tokens.BASE32, repeat=_TAIL_CHARS), strict=False):
            token_id = stamp + "".join(tail)
            own += token_id, created_at, keys.index_entry(token_id, digest)
        self._copy((keys.INDEX, *map(keys.record, digests)), (len(self._shared), *self._shared, *own))
