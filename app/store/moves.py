"""A token that gets another digest: its secret was rotated, or it met the new pepper."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import redis

from app.store import keys
from app.store.canary import Canary
from app.store.errors import spared
from app.store.scripts import Script, flat

# A text is followed through as many rotations; each is a round trip.
MAX_MOVES = 32

Run = Callable[[Script, Sequence[str], Sequence[str | int]], bool]


class Mover:
    """Moves tokens with ``move.lua``, which *run* runs."""

    def __init__(self, client: redis.Redis, canary: Canary, run: Run) -> None:
        self._client: Any = client
        self._canary = canary
        self._run = run
        self._move = Script("move")

    def move(self, token_id: str, old: str, new: str, grace_s: int) -> bool:
        """Move all of digest *old* to *new*, where *old* leads for *grace_s*; False if it is gone or moved.

        The index has the new entry before the move and again after it, since a page may prune it in between.
        """
        entry = keys.index_entry(token_id, new)
        self._client.zadd(keys.INDEX, {entry: 0})
        names = [key for both in zip(keys.all_of(old), keys.all_of(new), strict=True) for key in both]
        fields = {"id": token_id} | self._canary.label
        if not self._run(self._move, names, [new, grace_s * 1000, *flat(fields)]):
            return False
        with spared():
            pipe = self._client.pipeline(transaction=False)
            pipe.zadd(keys.INDEX, {entry: 0})
            pipe.zrem(keys.INDEX, keys.index_entry(token_id, old))
            pipe.execute()
        return True
