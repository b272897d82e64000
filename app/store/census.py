"""The census: a look at every token, which counts them, adds up their usage and corrects their order.

Its result is a hash: that of store/sums.py, and SORTED, which says that every token has been looked at once.
See docs/decisions/0027.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import gevent

from app.core.errors import StoreUnavailableError
from app.core.listing import Counts, State
from app.core.totals import Totals
from app.store import keys, sums
from app.store.index import Index
from app.store.repair import repaired
from app.store.scores import Scores
from app.store.sums import Sum
from app.store.traffic import UsageReader
from app.store.transport.background import SingleFlight
from app.store.transport.cluster import Client
from app.store.transport.deadlines import bounded

_PATIENCE_S = 0.05
_TIMES_LONGER = 4  # if their usage is added up too
# So few tokens are counted for every reader of the counts.
_FEW = 1000
# So few are put in order for every list that is sorted by anything but their creation.
_FEW_TO_SORT = 3000
# Between two slices and between two counts of few tokens: the pause, by the time that the work took.
_PAUSES = 4
_MIN_PAUSE_S = 60
# Between two censuses: the pause, by the time that the work took.
_LONG_PAUSES = 50
_LOCK_S = 60
_RENEWAL_S = 10
_STEP_S = 2.0
_SORTED = "sorted"
_END = object()
_T = TypeVar("_T")
_log = logging.getLogger(__name__)


class Census:
    """Looks at every token in slices, and passes entries that have no record to *settle*.

    If *concurrent*, a caller that needs the result starts the next census if the last one is old enough. It
    runs in its own greenlet, in one worker of all replicas at a time.
    """

    def __init__(
        self,
        client: Client,
        scores: Scores,
        index: Index,
        settle: Callable[[Sequence[bytes]], object],
        *,
        concurrent: bool,
    ) -> None:
        self._client: Any = client
        self._scores = scores
        self._index = index
        self._settle = settle
        self._usage = UsageReader(client)
        self._concurrent = concurrent
        self._turn = SingleFlight(self.take_turn, concurrent=concurrent)
        self._few = SingleFlight(self._count_few, _STEP_S, concurrent=concurrent)
        self._few_totals = SingleFlight(self._total_few, _STEP_S, concurrent=concurrent)
        self._rested_at = self._locked_at = float("-inf")

    def counts(self) -> Counts | None:
        """Return the current counts if there are few tokens, else those of the last census, if any."""
        if self._index.count() <= _FEW and (counts := self._few()):
            return counts
        self._start()
        return self._last()

    def totals(self) -> Totals | None:
        """Return the current totals if there are few tokens, else those of the last census, if any."""
        if self._index.count() <= _FEW and (found := self._few_totals()):
            return found
        self._start()
        return self._last_totals()

    def catch_up(self, start: bytes | None, until: float) -> bytes | None:
        """Put tokens in order, from the entry *start* on, if there are few or if that was never done.

        Returns the entry at which that has to go on, None once they are in order.
        """
        is_few = self._index.count() <= _FEW_TO_SORT
        if not is_few:
            self._start()
        if not is_few and self._was_sorted():
            return None
        for entries, following in self._index.walk(b"[" + start if start else b"+"):
            self._look(entries)
            if following and time.monotonic() > until:
                return following
        self._write({})
        return None

    def take(self, pause: Callable[[float], object] = lambda _: None) -> float:
        """Look at every token and return the seconds that took; *pause* is called with those of each step."""
        with bounded(_STEP_S):
            found = Sum(self._now_s(), self._usage)
        steps, busy_s = self._steps(found), 0.0
        while True:
            began = time.monotonic()
            with bounded(_STEP_S):
                if next(steps, _END) is _END:
                    break
            took_s = time.monotonic() - began
            busy_s += took_s
            pause(took_s)
        with bounded(_STEP_S):
            self._write(sums.fields(found.totals(), self._now_s()))
        return busy_s

    def take_turn(self) -> None:
        """Take a census unless another worker does, or the last one is too recent."""
        try:
            with bounded(_STEP_S):
                is_due = self._client.set(keys.CENSUS_LOCK, 1, nx=True, ex=_LOCK_S)
            if is_due:
                busy_s = self.take(self._pause)
                self._lock(max(_MIN_PAUSE_S, _LONG_PAUSES * busy_s))
        except StoreUnavailableError as error:
            _log.warning("the census of tokens was not finished: %(error)s", {"error": error})

    def _start(self) -> None:
        if self._concurrent:
            self._turn.start()

    def _pause(self, took_s: float) -> None:
        """Let others have the worker and Redis, and keep the lock."""
        gevent.sleep(_PAUSES * took_s)
        if time.monotonic() > self._locked_at + _RENEWAL_S:
            self._lock(_LOCK_S)

    def _lock(self, seconds: float) -> None:
        with bounded(_STEP_S):
            self._client.set(keys.CENSUS_LOCK, 1, px=int(seconds * 1000))
        self._locked_at = time.monotonic()

    def _count_few(self) -> Counts | None:
        found = self._sum_few(None, _PATIENCE_S)
        return Counts(found.by_status, self._now_s()) if found else None

    def _total_few(self) -> Totals | None:
        found = self._sum_few(self._usage, _TIMES_LONGER * _PATIENCE_S)
        return found.totals() if found else None

    def _sum_few(self, usage: UsageReader | None, patience_s: float) -> Sum | None:
        """Return the sum, None if that takes too long; a flood of requests can't keep the worker busy."""
        if self._concurrent:
            gevent.sleep(max(0, self._rested_at - time.monotonic()))
        began, found = time.monotonic(), Sum(self._now_s(), usage)
        try:
            for _ in self._steps(found):
                if time.monotonic() > began + patience_s:
                    return None
            return found
        finally:
            self._rested_at = time.monotonic() + _PAUSES * (time.monotonic() - began)

    def _steps(self, found: Sum) -> Iterator[None]:
        """Add all tokens to *found*, slice by slice."""
        for entries, _ in self._index.walk():
            found.add(entries, self._look(entries))
            yield

    def _look(self, entries: Sequence[bytes]) -> list[State | None]:
        states = self._scores.correct(entries)
        self._settle([entry for entry, state in zip(entries, states, strict=True) if not state])
        return states

    def _now_s(self) -> int:
        seconds, _ = self._client.time()
        return int(seconds)

    def _last(self) -> Counts | None:
        return sums.counts(self._fields())

    def _last_totals(self) -> Totals | None:
        return sums.totals(self._fields())

    def _fields(self) -> dict[bytes, bytes]:
        return self._repaired(lambda: dict(self._client.hgetall(keys.CENSUS)))

    def _was_sorted(self) -> bool:
        return bool(self._repaired(lambda: self._client.hexists(keys.CENSUS, _SORTED)))

    def _write(self, fields: Mapping[str, int | str]) -> None:
        self._repaired(lambda: self._client.hset(keys.CENSUS, mapping={_SORTED: 1, **fields}))

    def _repaired(self, call: Callable[[], _T]) -> _T:
        return repaired(call, lambda: self._client.delete(keys.CENSUS))
