"""Counts bad tokens exactly in Redis, and keeps the blocks that this worker knows of.

See docs/decisions/0012 and 0020.
"""

from __future__ import annotations

import time
from math import ceil

from app.core.clients import networks_of
from app.core.failures import MAX_CLIENTS, Failures, is_one_customers, network_limit
from app.core.limits import Limit, Refusal
from app.store import keys
from app.store.transport.cluster_pipeline import Executor
from app.store.transport.deadlines import DECISION, bounded
from app.store.transport.scripts import Script

_SHARED = (keys.FAILED_CLIENTS, keys.FURTHER_FAILURES)


class RedisFailures(Failures):
    """Counts with ``fail.lua``, in one round trip per bad token and none for other tokens."""

    def __init__(self, client: Executor, limit: Limit, deadline_s: float) -> None:
        self._client = client
        self._limit = limit
        self._deadline_s = deadline_s
        self._fail = Script("fail")
        self._ends: dict[str, float] = {}  # of blocks, by client or network, oldest first

    def blocking(self, client: str) -> Refusal | None:
        if not self._ends:
            return None
        left_s = max(self._left_s(name) for name in (client, *networks_of(client)))
        # In whole seconds, as Retry-After reports it.
        return Refusal(self._limit, ceil(left_s) * 1_000_000) if left_s > 0 else None

    def _left_s(self, name: str) -> float:
        end = self._ends.get(name)
        if end is None:
            return 0
        left_s = end - time.monotonic()
        if left_s <= 0:
            del self._ends[name]
        return left_s

    def note(self, client: str) -> Refusal | None:
        networks, limit = networks_of(client), self._limit.max_requests
        names = [keys.failures(client), *_SHARED, *map(keys.network_failures, networks)]
        limits = [limit, *(network_limit(network, limit) for network in networks)]
        with bounded(self._deadline_s, DECISION):
            is_refused, *waits_us = self._fail.run(
                self._client, names, [client, self._limit.window_s, MAX_CLIENTS, *limits]
            )
        self._block(client, max(waits_us))
        for network, wait_us in zip(filter(is_one_customers, networks), waits_us[1:], strict=False):
            self._block(network, wait_us)
        return Refusal(self._limit, max(waits_us)) if is_refused else None

    def _block(self, name: str, wait_us: int) -> None:
        if not wait_us:
            return
        self._ends.pop(name, None)
        self._ends[name] = time.monotonic() + wait_us / 1_000_000
        if len(self._ends) > MAX_CLIENTS:
            del self._ends[next(iter(self._ends))]
