"""Whether a decision could be made now: one is, on a token that nobody has."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from itertools import islice
from typing import Any

import redis

from app.core.registry import StoreUnavailableError
from app.store import keys
from app.store.background import Shared, afterwards
from app.store.canary import Canary
from app.store.checkup import Checkup
from app.store.cluster import Client, Cluster
from app.store.crowd import at_once
from app.store.errors import DECISION, bounded
from app.store.ledger import RedisLedger
from app.store.lines import ClusterLine
from app.store.pipeline import Pipeline
from app.store.scripts import Script

_FRESH_S = 0.3  # an answer holds so long: a flood of questions costs Redis a few round trips a second
_STATE = (b"cluster_state:ok", b"cluster_slots_assigned:16384")


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
