"""Lists of tokens that are as wanted, in any order (docs/decisions/0011 and 0027).

The time for one request is limited, however many tokens there are.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from app.core.listing import CENSUS, NEWEST_FIRST, Condition, Filter, Order, Position, Sort
from app.core.search import Found, Kind, Query
from app.core.tokens import TOKEN_ID, Token
from app.store import keys
from app.store.census import Census
from app.store.index import Index, Place, Slices, upper_bound
from app.store.index_pages import IndexPages
from app.store.index_records import RecordReader
from app.store.transport.cluster import Client
from app.store.transport.deadlines import best_effort

_PATIENCE_S = 0.08
# Of this, what each token takes that a page may have.
_PER_TOKEN_S = 0.0001
# To put tokens in order, beyond that.
_MORE_S = 0.03


class Listings:
    """Lists tokens by the index and its orders, and reads the records that a filter needs."""

    def __init__(
        self, client: Client, reader: RecordReader, index: Index, pages: IndexPages, census: Census
    ) -> None:
        self._client: Any = client
        self._reader = reader
        self._index = index
        self._pages = pages
        self._census = census

    def listed(self, wanted: Filter, order: Order, start: Position | None, size: int) -> Found:
        """Return *size* tokens that are as *wanted*, from *start* on; a long search takes several calls."""
        if wanted.query and wanted.query.kind is Kind.DIGEST:
            return self._one(wanted, wanted.query)
        until = time.monotonic() + _PATIENCE_S - size * _PER_TOKEN_S
        if start is None:
            self._pages.backfill.advance()
        if order.sort is not Sort.CREATED_AT and (start is None or start.score == CENSUS):
            entry = self._census.catch_up(keys.entry_of(start.entry) if start else None, until + _MORE_S)
            if entry:
                return self._found(wanted, order, [], Place(entry, CENSUS))
            start = None
        hits: list[Place] = []
        following: Place | None = None
        for places, after in self._walk(wanted.query, order, start):
            hits += self._hits(wanted, places)
            following = hits[size] if len(hits) > size else after
            if len(hits) > size or time.monotonic() > until:
                break
        return self._found(wanted, order, hits[:size], following)

    def _walk(self, query: Query | None, order: Order, start: Position | None) -> Slices:
        if order.sort is Sort.CREATED_AT:
            slices = self._index.walk(*_bounds(query, order, start), descending=order.descending)
            return (
                ([*map(Place, entries)], Place(following) if following else None)
                for entries, following in slices
            )
        place = Place(keys.entry_of(start.entry), start.score) if start else None
        return self._index.walk_sorted(order.sort, place, descending=order.descending)

    def _hits(self, wanted: Filter, places: list[Place]) -> list[Place]:
        query = wanted.query
        if query and query.kind is Kind.ID:
            beginning = query.text.encode()
            places = [place for place in places if place.entry.startswith(beginning)]
        if conditions := list(wanted.conditions()):
            places = self._with_texts(places, conditions)
        return self._with_states(wanted, places) if wanted.has_state and places else places

    def _with_texts(self, places: list[Place], conditions: Sequence[Condition]) -> list[Place]:
        names = list(dict.fromkeys(name for condition in conditions for name in condition))
        rows = self._reader.fields([keys.digest_of_entry(place.entry) for place in places], *names)
        return [
            place
            for place, row in zip(places, rows, strict=True)
            if row and _meets(dict(zip(names, row, strict=True)), conditions)
        ]

    def _with_states(self, wanted: Filter, places: list[Place]) -> list[Place]:
        (now_s, _), states = (
            self._client.time(),
            self._reader.states([place.entry for place in places]),
        )
        found = zip(places, states, strict=True)
        return [place for place, state in found if state and wanted.admits(state, now_s)]

    def _one(self, wanted: Filter, query: Query) -> Found:
        """Return the token with a digest, if it is as *wanted* otherwise."""
        token = self._reader.token(query.text)
        places = [Place(keys.index_entry(token.id, token.digest))] if token else []
        found = tuple(token for _ in self._hits(wanted, places) if token)
        return Found(query, found, 1, 1)

    def _found(self, wanted: Filter, order: Order, places: Sequence[Place], following: Place | None) -> Found:
        total = self._index.count()
        searched: int | None = total
        cursor = None
        if following:
            searched = self._index.count_above(following.entry) if order == NEWEST_FIRST else None
            cursor = wanted.cursor(order, Position(keys.cursor_of(following.entry), following.score))
        tokens, is_whole = self._tokens([place.entry for place in places]), self._pages.backfill.is_finished()
        return Found(wanted.query, tokens, searched, total, cursor, is_whole)

    def _tokens(self, entries: Sequence[bytes]) -> tuple[Token, ...]:
        """Return the tokens of *entries*; those of tokens that have ended leave the index."""
        tokens = self._pages.tokens_of(entries)
        if len(tokens) < len(entries):
            with best_effort():
                self._pages.settle(entries)
        return tuple(tokens)


def _meets(texts: Mapping[str, str | None], conditions: Sequence[Condition]) -> bool:
    return all(
        any((text := texts[name]) and test(text) for name, test in condition.items())
        for condition in conditions
    )


def _bounds(query: Query | None, order: Order, start: Position | None) -> tuple[bytes, bytes]:
    """Return where a walk in the order of creation begins and ends."""
    low, high = b"-", b"+"
    if query and query.kind is Kind.ID:
        low, high = b"[" + query.text.encode(), b"[" + upper_bound(query.text)
    first, last = (high, low) if order.descending else (low, high)
    if start:
        is_id = TOKEN_ID.fullmatch(start.entry)
        first = b"[" + (upper_bound(start.entry) if is_id else keys.entry_of(start.entry))
    return first, last
