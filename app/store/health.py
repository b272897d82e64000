"""The health check: a decision on a token that does not exist (docs/decisions/0018)."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from itertools import islice
from typing import Any

import redis

from app.core.checkup import SAFE_POLICY
from app.core.errors import StoreUnavailableError
from app.store import keys
from app.store.ledger import RedisLedger
from app.store.pepper_check import PepperCheck
from app.store.transport.background import SingleFlight, run_in_background
from app.store.transport.cluster import Client, Cluster
from app.store.transport.cluster_pipeline import ClusterPipeline, Executor
from app.store.transport.deadlines import DECISION, bounded
from app.store.transport.fanout import fan_out
from app.store.transport.scripts import Script

_MAX_AGE_S = 0.3  # of a result: a flood of requests costs Redis only a few round trips a second
_HEALTHY_STATE = (b"cluster_state:ok", b"cluster_slots_assigned:16384")
_log = logging.getLogger(__name__)


class Health:
    """Runs the script of a decision on each primary, and caches the result for a moment."""

    def __init__(
        self,
        client: Executor,
        ledger: RedisLedger,
        pepper_check: PepperCheck,
        eviction_policy_check: EvictionPolicyCheck,
        deadline_s: float,
    ) -> None:
        self._client = client
        self._ledger = ledger
        self._pepper_check = pepper_check
        self._eviction_policy_check = eviction_policy_check
        self._deadline_s = deadline_s
        self._rights = Script("rights")
        self._refresh = SingleFlight(self._check_now, concurrent=ledger.concurrent)
        self._checked_at = float("-inf")
        self._error: StoreUnavailableError | None = None

    def check(self) -> None:
        """Raise StoreUnavailableError with the reason if no decision can be made now."""
        if time.monotonic() > self._checked_at + _MAX_AGE_S:
            self._refresh()
        if self._error:
            raise self._error.with_traceback(None)

    def _check_now(self) -> None:
        try:
            self._run()
        except StoreUnavailableError as error:
            self._error = error
        except Exception as error:  # noqa: BLE001 - an unforeseen error would prevent a decision as well
            self._error = StoreUnavailableError(f"no decision can be made: {error!r}")
        else:
            self._error = None
        self._checked_at = time.monotonic()

    def _run(self) -> None:
        with self._bounded():
            self._pepper_check.check()
        with self._bounded():
            probes = [*self._probes()]
        for outcome in list(fan_out([partial(self._run_bounded, probe) for probe in probes])):
            if isinstance(outcome, Exception):
                raise outcome
        run_in_background(self._eviction_policy_check.run, concurrent=self._ledger.concurrent)

    def _probes(self) -> Iterator[Callable[[], object]]:
        """Yield every call to make; all run concurrently, so that a pipeline sends them in one write."""
        for digest in self._probe_digests():
            yield partial(self._ledger.probe, digest)
            yield partial(self._rights.run, self._client, keys.all_of(digest), [])
        if isinstance(self._client, Cluster | ClusterPipeline):
            for address in self._client.slots.primaries():
                yield partial(_check_cluster_state, self._client.at(address))

    def _probe_digests(self) -> Iterator[str]:
        if isinstance(self._client, Cluster | ClusterPipeline):
            return self._client.slots.one_per_primary(keys.probes(), keys.record)
        return islice(keys.probes(), 1)

    def _bounded(self) -> AbstractContextManager[None]:
        return bounded(self._deadline_s, DECISION)

    def _run_bounded(self, probe: Callable[[], object]) -> None:
        with self._bounded():
            probe()


def _check_cluster_state(node: Any) -> None:
    info = node.execute_command("CLUSTER", "INFO")
    if not all(line in info for line in _HEALTHY_STATE):
        raise redis.ConnectionError("the Cluster does not serve all slots")


class EvictionPolicyCheck:
    """Warns once if Redis evicts keys when its memory is full; never fails a health check."""

    def __init__(self, client: Client) -> None:
        self._client: Any = client
        self._is_done = False

    def run(self) -> None:
        """Check the policy unless that was done; an ACL user without the right to INFO gets no warning."""
        if self._is_done:
            return
        try:
            policy = self._client.info("memory").get("maxmemory_policy", SAFE_POLICY)
        except redis.ResponseError as error:
            _log.info("the configuration of Redis can't be read: %s", error)
            policy = SAFE_POLICY
        self._is_done = True
        if policy != SAFE_POLICY:
            _log.warning(
                "maxmemory-policy of this Redis is %s: when its memory is full it drops tokens and limits. "
                "Set maxmemory-policy to %s",
                policy,
                SAFE_POLICY,
            )
