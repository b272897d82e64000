"""Put entries of the index into the orders by expiry and by last use (docs/decisions/0027)."""

from __future__ import annotations

from collections.abc import Sequence

from app.core.listing import State
from app.store.index import Index
from app.store.index_records import RecordReader


class Scores:
    """Keeps the scores of entries as the records say; a score that is right is not written."""

    def __init__(self, reader: RecordReader, index: Index) -> None:
        self._reader = reader
        self._index = index

    def correct(self, entries: Sequence[bytes]) -> list[State | None]:
        """Give *entries* their scores; return the state of each one's token, None if it has no record."""
        states = self._reader.states(entries)
        found = ((entry, state) for entry, state in zip(entries, states, strict=True) if state)
        self._index.score({entry: (state.expires_at, state.last_used_at) for entry, state in found})
        return states
