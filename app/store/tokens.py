"""Find tokens in Redis: their records, and an index that lists them and finds them by id.

See docs/decisions/0002, 0025 and 0027.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from app.core.ended import EndedToken, FoundEnded
from app.core.limits import Limit
from app.core.listing import Counts, Filter, Order, Position
from app.core.search import Found, Query
from app.core.token_store import TokenStore
from app.core.tokens import Token
from app.core.totals import Totals, Use
from app.core.usage import Usage
from app.store import keys, usage
from app.store.backfill import Backfill
from app.store.census import Census
from app.store.ended import EndedTokens
from app.store.index import Index
from app.store.index_pages import IndexPages
from app.store.index_records import RecordReader
from app.store.listings import Listings
from app.store.pepper_check import PepperCheck
from app.store.scores import Scores
from app.store.transport.cluster import Client
from app.store.transport.deadlines import bounded

_MAX_NAMESAKES = 10
_NO_DIGEST = "0" * 64
_DONE = object()


class RedisTokens(TokenStore):
    """Finds each token in its hash; changes nothing of it."""

    def __init__(
        self, client: Client, pepper_check: PepperCheck, deadline_s: float, *, concurrent: bool = False
    ) -> None:
        self._client: Any = client  # its stubs return the union of every protocol's replies
        self._pepper_check = pepper_check
        self._deadline_s = deadline_s
        self._reader, self._index = RecordReader(client), Index(client)
        self._ended = EndedTokens(client)
        scores = Scores(self._reader, self._index)
        backfill = Backfill(client, self._reader, self._index, scores)
        self._pages = IndexPages(client, self._reader, self._index, self._ended, backfill)
        self._census = Census(client, scores, self._index, self._pages.settle, concurrent=concurrent)
        self._listings = Listings(client, self._reader, self._index, self._pages, self._census)

    def get(self, digest: str) -> Token | None:
        with bounded(self._deadline_s):
            return self._reader.token(digest)

    def with_id(self, token_id: str) -> Sequence[Token]:
        with bounded(self._deadline_s):
            return self._pages.tokens_of(self._index.entries_of(token_id, _MAX_NAMESAKES))

    def usage(self, token: Token, now_s: int) -> Usage:
        with bounded(self._deadline_s):
            return usage.read(self._client, token.digest, now_s)

    def admitted(self, token: Token, limit: Limit) -> int:
        with bounded(self._deadline_s):
            return usage.admitted(self._client, token.digest, limit)

    def stored(self, token_ids: Collection[str]) -> set[str]:
        entries = [keys.index_entry(token_id, _NO_DIGEST) for token_id in token_ids]
        with bounded(self._deadline_s):
            found = self._index.namesakes(entries) if entries else []
            return {token.id for token in self._pages.tokens_of([*filter(None, found)])}

    def usages(self, tokens: Sequence[Token], now_s: int) -> Sequence[Usage]:
        with bounded(self._deadline_s):
            return usage.read_hours(self._client, [token.digest for token in tokens], now_s)

    def page(self, number: int, size: int) -> tuple[Sequence[Token], int]:
        with bounded(self._deadline_s):
            return self._pages.page(number, size)

    def listed(self, wanted: Filter, order: Order, start: Position | None, size: int) -> Found:
        with bounded(self._deadline_s):
            return self._listings.listed(wanted, order, start, size)

    def take_census(self) -> None:
        self._census.take()

    def counts(self) -> Counts | None:
        with bounded(self._deadline_s):
            return self._census.counts()

    def totals(self) -> Totals | None:
        with bounded(self._deadline_s):
            return self._census.totals()

    def users(self, uses: Sequence[Use]) -> Sequence[Token]:
        with bounded(self._deadline_s):
            return self._pages.tokens_of([keys.index_entry(use.token_id, use.digest) for use in uses])

    def ended(self, query: Query | None, start: str | None, size: int) -> FoundEnded:
        with bounded(self._deadline_s):
            is_whole = start is not None or self._pages.sweep()
            return replace(self._ended.newest(query, start, size), is_whole=is_whole)

    def ended_with(self, token_id: str) -> Sequence[EndedToken]:
        with bounded(self._deadline_s):
            unsettled = self._ended.read(self._index.entries_of(token_id, _MAX_NAMESAKES))
            return [*filter(None, unsettled), *self._ended.with_id(token_id)]

    def ended_under(self, digests: Sequence[str]) -> Sequence[EndedToken]:
        with bounded(self._deadline_s):
            return list(filter(None, self._ended.under(digests)))

    def collect_ended(self) -> None:
        steps = self._pages.sweep_all()
        more = True
        while more:
            with bounded(self._deadline_s):
                more = next(steps, _DONE) is not _DONE

    def adopt_all(self) -> None:
        cursor, more = 0, True
        while more:
            with bounded(self._deadline_s):
                cursor = self._pages.backfill.step(cursor)
            more = cursor != 0

    def sweep_some(self) -> None:
        """Move some of the tokens that have ended, as ``ended`` does."""
        self._pages.sweep_some()

    def count_old_peppers(self) -> int:
        counts, old = self._pages.old_peppers(self._pepper_check.current), 0
        while True:
            with bounded(self._deadline_s):
                count = next(counts, None)
            if count is None:
                return old
            old += count
