"""Move tokens to another digest, because the secret was rotated or the pepper changed.

See docs/decisions/0005, and 0009 for Clusters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, Generic, NamedTuple, TypeVar

import redis

from app.core.errors import PreconditionFailedError
from app.pauses import paced
from app.store import keys
from app.store.index import Index
from app.store.pepper_check import PepperCheck
from app.store.transport.cluster import Client, Cluster
from app.store.transport.deadlines import best_effort
from app.store.transport.scripts import CHANGE, Script, flat
from app.store.transport.slots import slot_of

Outcome = TypeVar("Outcome")
Run = Callable[[Script, Sequence[str], Sequence[Any]], Outcome | None]


@contextmanager
def tentative(index: Index, entry: bytes) -> Iterator[None]:
    """Remove *entry* from the index again if the change inside is refused; many such entries hide a token."""
    try:
        yield
    except (PreconditionFailedError, redis.ResponseError):
        with best_effort():
            index.drop(entry)
        raise


class Redirect(NamedTuple):
    """What remains under the old digest: a redirect until *ends_at*, in seconds since the epoch, 0 for none.

    Then *marker* remembers it; without a marker, the secret has not been replaced. *trail* is the audit
    argument, "" for a move without an actor.
    """

    ends_at: int
    marker: bytes = b""
    trail: str = ""


class Rekeyer(Generic[Outcome]):
    """Moves the keys of a token to another digest with ``move.lua``.

    *run* runs the script; its outcome is falsy if nothing changed.
    """

    def __init__(self, client: Client, pepper_check: PepperCheck, run: Run[Outcome]) -> None:
        self._client: Any = client
        self._pepper_check = pepper_check
        self._run = run
        self._index = Index(client)
        self._move = Script("move", *CHANGE)

    def choose(self, old: str, candidates: Iterable[tuple[str, str]]) -> tuple[str, str]:
        """Return the first of *candidates*, secrets with their digests, that digest *old* can move to.

        In a Cluster this takes about 16 000 tries; other greenlets run in between. Raises ValueError if no
        candidate fits.
        """
        for secret, new in paced(candidates):
            if self.can_move(old, new):
                return secret, new
        raise ValueError("no candidate is left")

    def can_move(self, old: str, new: str) -> bool:
        """Tell whether one script may access both digests: in a Cluster, whether they share a slot."""
        return not isinstance(self._client, Cluster) or slot_of(keys.record(old)) == slot_of(keys.record(new))

    def move(self, token_id: str, old: str, new: str, redirect: Redirect) -> Outcome | None:
        """Move all keys of digest *old* to *new*, and return the outcome of the script.

        Returns None if the token no longer exists, or if the new digest lies in another slot of a Cluster.
        The index entry is added before the move, and again after it because a page view may prune it in
        between.
        """
        if not self.can_move(old, new):
            return None
        entry, old_entry = keys.index_entry(token_id, new), keys.index_entry(token_id, old)
        self._index.add(entry, like=old_entry)
        names = [key for pair in zip(keys.all_of(old), keys.all_of(new), strict=True) for key in pair]
        args = [new, redirect.ends_at * 1000, redirect.marker, keys.REMEMBERED_MS, token_id]
        # Without an actor, another worker may have made the same move.
        with tentative(self._index, entry) if redirect.trail else nullcontext():
            outcome = self._run(self._move, names, [*args, *flat(self._pepper_check.label), redirect.trail])
        with best_effort():
            if outcome:
                self._index.add(entry, like=old_entry)
                self._index.drop(old_entry)
            if not self._is_stored(new):
                self._index.drop(entry)
        return outcome or None

    def _is_stored(self, digest: str) -> bool:
        """Tell whether a record is under *digest*: another change may have moved or deleted it meanwhile."""
        return self._client.hget(keys.record(digest), "id") is not None  # a redirect has no id
