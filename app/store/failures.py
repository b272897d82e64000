"""The memory of bad tokens: exact in Redis, and what this worker has learned from it."""

from __future__ import annotations

import time
from math import ceil

from app.core.failures import MAX_CLIENTS
from app.core.limits import Limit, Refusal
from app.store import keys
from app.store.cluster import Client
from app.store.errors import DECISION, bounded
from app.store.lines import ClusterLine
from app.store.pipeline import Pipeline
from app.store.scripts import Script


class RedisFailures:
    """Counts with ``fail.lua``, once for a bad token and not at all for others."""

    def __init__(self, line: Client | Pipeline | ClusterLine, limit: Limit, deadline_s: float) -> None:
        self._line = line
        self._limit = limit
        self._deadline_s = deadline_s
        self._fail = Script("fail")
        self._ends: dict[str, float] = {}  # of blocks, by client; the oldest first

    def blocking(self, client: str) -> Refusal | None:
        """Return why *client* is to be turned away as far as this worker knows; asks nobody."""
        end = self._ends.get(client)
        if end is None:
            return None
        left_s = end - time.monotonic()
        if left_s > 0:
            return Refusal(self._limit, ceil(left_s) * 1_000_000)  # few of them, for answers are cached
        del self._ends[client]
        return None

    def note(self, client: str) -> Refusal | None:
        """Note a bad token; a refusal means that there were too many before it. Any exception: not noted."""
        names = (keys.failures(client), keys.FAILED_CLIENTS)
        rule: list[str | int] = [client, self._limit.max_requests, self._limit.window_s, MAX_CLIENTS]
        with bounded(self._deadline_s, DECISION):
            is_refused, wait_us = self._fail.run(self._line, names, rule)
        if wait_us:
            self._block(client, wait_us)
        return Refusal(self._limit, wait_us) if is_refused else None

    def _block(self, client: str, wait_us: int) -> None:
        self._ends.pop(client, None)
        self._ends[client] = time.monotonic() + wait_us / 1_000_000
        if len(self._ends) > MAX_CLIENTS:
            del self._ends[next(iter(self._ends))]
