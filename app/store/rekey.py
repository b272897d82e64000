"""A token that gets another digest: its secret was rotated, or it met the new pepper."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, TypeVar

import gevent

from app.store import keys
from app.store.index import Index
from app.store.pepper_check import Canary
from app.store.transport.cluster import Client, Cluster
from app.store.transport.deadlines import spared
from app.store.transport.scripts import Script, flat
from app.store.transport.slots import slot_of

_TRIES_AT_A_TIME = 50

Outcome = TypeVar("Outcome")
Run = Callable[[Script, Sequence[str], Sequence[str | int]], Outcome | None]


class Mover(Generic[Outcome]):
    """Moves tokens with ``move.lua``, which *run* runs; its outcome is falsy if nothing changed."""

    def __init__(self, client: Client, canary: Canary, run: Run[Outcome]) -> None:
        self._client: Any = client
        self._canary = canary
        self._run = run
        self._index = Index(client)
        self._move = Script("move")

    def choose(self, old: str, candidates: Iterable[tuple[str, str]]) -> tuple[str, str]:
        """Return the first of *candidates*, secrets with their digests, to which digest *old* can move.

        In a Cluster that takes some 16 000 tries, while which other requests are served.
        """
        for number, (secret, new) in enumerate(candidates):
            if self.reaches(old, new):
                return secret, new
            if number % _TRIES_AT_A_TIME == 0:
                gevent.sleep(0)
        raise ValueError("no candidate is left")

    def reaches(self, old: str, new: str) -> bool:
        """Tell whether a script may touch both: in a Cluster, whether they share a slot."""
        return not isinstance(self._client, Cluster) or slot_of(keys.record(old)) == slot_of(keys.record(new))

    def move(self, token_id: str, old: str, new: str, grace_ends_at: int) -> Outcome | None:
        """Move all of digest *old* to *new*, where *old* leads until *grace_ends_at*, 0 for not at all.

        Returns the outcome of the script, None if the token is gone or stays. The index has the new entry
        before the move and again after it, since a page may prune it in between.
        """
        if not self.reaches(old, new):
            return None
        entry = keys.index_entry(token_id, new)
        self._index.add(entry)
        names = [key for both in zip(keys.all_of(old), keys.all_of(new), strict=True) for key in both]
        fields = {"id": token_id} | self._canary.label
        outcome = self._run(self._move, names, [new, grace_ends_at * 1000, *flat(fields)])
        if not outcome:
            return None
        with spared():
            self._index.add(entry)
            self._index.drop(keys.index_entry(token_id, old))
        return outcome
