"""Counts of bad tokens, exact in Redis, and the blocks that this worker knows (decisions 0012 and 0020)."""

from __future__ import annotations

import time
from math import ceil

from app.core.clients import networks_of
from app.core.failures import MAX_CLIENTS, is_one_customers, network_limit
from app.core.limits import Limit, Refusal
from app.store import keys
from app.store.transport.cluster import Client
from app.store.transport.cluster_pipeline import ClusterLine
from app.store.transport.deadlines import DECISION, bounded
from app.store.transport.pipeline import Pipeline
from app.store.transport.scripts import Script

_SHARED = (keys.FAILED_CLIENTS, keys.FURTHER_FAILURES)


class RedisFailures:
    """Counts with ``fail.lua``: one round trip for a bad token, none for any other."""

    def __init__(self, line: Client | Pipeline | ClusterLine, limit: Limit, deadline_s: float) -> None:
        self._line = line
        self._limit = limit
        self._deadline_s = deadline_s
        self._fail = Script("fail")
        self._ends: dict[
            str, float
        ] = {}  # of blocks, by client or network, in monotonic seconds; oldest first

    def blocking(self, client: str) -> Refusal | None:
        """Return the refusal of *client* or of its network that this worker knows, without a round trip."""
        if not self._ends:
            return None
        left_s = max(self._left_s(name) for name in (client, *networks_of(client)))
        # In whole seconds, so that there are few different answers, which are cached.
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
        """Count a bad token; return a refusal if there were too many before it.

        Any exception means that it was not counted.
        """
        networks, most = networks_of(client), self._limit.max_requests
        names = [keys.failures(client), *_SHARED, *map(keys.network_failures, networks)]
        limits = [most, *(network_limit(network, most) for network in networks)]
        with bounded(self._deadline_s, DECISION):
            is_refused, *waits_us = self._fail.run(
                self._line, names, [client, self._limit.window_s, MAX_CLIENTS, *limits]
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
