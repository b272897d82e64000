"""Whether a decision could be made now: one is, on a token that nobody has."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from itertools import islice
from typing import Any

import redis

from app.core.errors import StoreUnavailableError
from app.store import keys
from app.store.ledger import RedisLedger
from app.store.pepper_check import Canary
from app.store.transport.background import Shared, afterwards
from app.store.transport.cluster import Client, Cluster
from app.store.transport.cluster_pipeline import ClusterLine
from app.store.transport.deadlines import DECISION, bounded
from app.store.transport.fanout import at_once
from app.store.transport.pipeline import Pipeline
from app.store.transport.scripts import Script

_FRESH_S = 0.3  # an answer holds so long: a flood of questions costs Redis a few round trips a second
_SAFE_POLICY = "noeviction"
_STATE = (b"cluster_state:ok", b"cluster_slots_assigned:16384")
_log = logging.getLogger(__name__)


class Health:
    """Asks as a decision does, each primary of a Cluster, and keeps the answer for a moment."""

    def __init__(
        self,
        line: Client | Pipeline | ClusterLine,
        ledger: RedisLedger,
        canary: Canary,
        checkup: Checkup,
        deadline_s: float,
    ) -> None:
        self._line = line
        self._ledger = ledger
        self._canary = canary
        self._checkup = checkup
        self._deadline_s = deadline_s
        self._rights = Script("rights")
        self._looking = Shared(self._look)
        self._looked_at = float("-inf")
        self._trouble: StoreUnavailableError | None = None

    def check(self) -> None:
        """Return if a decision could be made now; raises StoreUnavailableError with the reason if not."""
        if time.monotonic() > self._looked_at + _FRESH_S:
            self._looking()
        if self._trouble:
            raise self._trouble.with_traceback(None)

    def _look(self) -> None:
        try:
            self._ask()
        except StoreUnavailableError as error:
            self._trouble = error
        except Exception as error:  # noqa: BLE001 - whatever is unforeseen around a decision is none
            self._trouble = StoreUnavailableError(f"no decision can be made: {error!r}")
        else:
            self._trouble = None
        self._looked_at = time.monotonic()

    def _ask(self) -> None:
        with self._within():
            self._canary.check()
        with self._within():
            asks = [*self._asks()]
        for answer in list(at_once([partial(self._in_time, ask) for ask in asks])):
            if isinstance(answer, Exception):
                raise answer
        afterwards(self._checkup.run)

    def _asks(self) -> Iterator[Callable[[], object]]:
        """Yield all there is to ask; what is asked at once is one round trip."""
        for name in self._names():
            yield partial(self._ledger.probe, name)
            yield partial(self._rights.run, self._line, keys.all_of(name), [])
        if isinstance(self._line, Cluster | ClusterLine):
            for address in self._line.slots.primaries():
                yield partial(_see_state, self._line.at(address))

    def _names(self) -> Iterator[str]:
        names = keys.probes()
        if isinstance(self._line, Cluster | ClusterLine):
            return self._line.slots.one_of_each(names)
        return islice(names, 1)

    def _within(self) -> AbstractContextManager[None]:
        return bounded(self._deadline_s, DECISION)

    def _in_time(self, ask: Callable[[], object]) -> None:
        with self._within():
            ask()


def _see_state(node: Any) -> None:
    told = node.execute_command("CLUSTER", "INFO")
    if not all(part in told for part in _STATE):
        raise redis.ConnectionError("the Cluster does not serve all slots")


class Checkup:
    """Looks once at how Redis is set up, as soon as it answers, and warns; it never refuses."""

    def __init__(self, client: Client) -> None:
        self._client: Any = client
        self._is_done = False

    def run(self) -> None:
        """Look, unless that was done; whoever may not ask for INFO is left alone."""
        if self._is_done:
            return
        try:
            policy = self._client.info("memory").get("maxmemory_policy", _SAFE_POLICY)
        except redis.ResponseError as error:
            _log.info("the configuration of Redis can't be looked at: %s", error)
            policy = _SAFE_POLICY
        self._is_done = True
        if policy != _SAFE_POLICY:
            _log.warning(
                "maxmemory-policy of this Redis is %s: when its memory is full it drops tokens and limits. "
                "Set maxmemory-policy to %s",
                policy,
                _SAFE_POLICY,
            )
