"""Store tokens in Redis: their records, and an index that lists them by age and finds them by id.

See docs/decisions/0002, 0010, 0019 and 0025.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from app.core.durability import Durability
from app.core.ended import EndedToken, Ending, FoundEnded
from app.core.fields import Leave, TokenSpec
from app.core.listing import Counts, Filter, Order, Position
from app.core.search import Found, Query
from app.core.token_store import TokenStore
from app.core.tokens import Token
from app.core.usage import Usage
from app.store import keys, markers, records, usage
from app.store.backfill import Backfill
from app.store.census import Census
from app.store.durable import Disk
from app.store.ended import EndedTokens
from app.store.index import NEVER, UNCHANGED, Index
from app.store.index_pages import IndexPages
from app.store.index_records import RecordReader
from app.store.listings import Listings
from app.store.pepper_check import PepperCheck
from app.store.rekey import Rekeyer
from app.store.scores import Scores
from app.store.transport.cluster import Client
from app.store.transport.deadlines import best_effort, bounded
from app.store.transport.scripts import Script, flat

_CLAIM_TTL_S = 3600
_MAX_NAMESAKES = 10
_DONE = object()


class RedisTokens(TokenStore):
    """Stores each token in a hash; a script makes each change, and Disk reports how durable it is."""

    def __init__(
        self, client: Client, pepper_check: PepperCheck, deadline_s: float, *, concurrent: bool = False
    ) -> None:
        self._client: Any = client  # its stubs return the union of every protocol's replies
        self._pepper_check = pepper_check
        self._deadline_s = deadline_s
        self._disk = Disk(client)
        self._add, self._edit, self._remove = Script("add"), Script("edit"), Script("remove")
        self._retire = Script("retire")
        self._rekeyer = Rekeyer(client, pepper_check, self._disk.change)
        self._reader, self._index = RecordReader(client), Index(client)
        self._ended = EndedTokens(client)
        scores = Scores(self._reader, self._index)
        backfill = Backfill(client, self._reader, self._index, scores)
        self._pages = IndexPages(client, self._reader, self._index, self._ended, backfill)
        self._census = Census(client, scores, self._index, self._pages.settle, concurrent=concurrent)
        self._listings = Listings(client, self._reader, self._index, self._pages, self._census)

    def claim(self, idempotency_key: str) -> bool:
        with bounded(self._deadline_s):
            return bool(self._client.set(keys.form(idempotency_key), 1, nx=True, ex=_CLAIM_TTL_S))

    def release(self, idempotency_key: str) -> None:
        with best_effort():
            self._client.delete(keys.form(idempotency_key))

    def add(self, token: Token) -> Durability | None:
        entry = keys.index_entry(token.id, token.digest)
        fields = records.to_fields(token) | {"id": token.id, "created_at": str(token.created_at)}
        with bounded(self._deadline_s):
            self._pepper_check.check()
            # First: an entry without a record is pruned, a record without an entry would be lost.
            self._index.add(entry, expires_at=token.expires_at)
            filled = {name: value for name, value in (fields | self._pepper_check.label).items() if value}
            marker = markers.compose(token, token, Ending.EXPIRED)
            durability = self._disk.change(
                self._add, [keys.record(token.digest)], [*_end(token.expires_at), marker, *flat(filled)]
            )
            with best_effort():
                if durability:
                    self._pepper_check.record_current()
                    self._pages.sweep_some()
                else:
                    self._index.drop(entry)
            return durability

    def get(self, digest: str) -> Token | None:
        with bounded(self._deadline_s):
            return self._reader.token(digest)

    def with_id(self, token_id: str) -> Sequence[Token]:
        with bounded(self._deadline_s):
            return self._pages.tokens_of(self._index.entries_of(token_id, _MAX_NAMESAKES))

    def edit(
        self,
        token: Token,
        spec: TokenSpec,
        expires_at: int | Leave | None,
        window_s: int,
        *,
        enabled: bool | None = None,
    ) -> Durability | None:
        before, after = records.to_fields(token), records.to_fields(spec)
        changed = {name: value for name, value in after.items() if value != before[name]}
        if token.fault:  # the fields that could be read may be wrong
            changed = after | {"id": token.id, "quota_used": ""}
        return self._change(token, spec, changed | _switch(enabled), expires_at, window_s)

    def enable(self, token: Token, *, enabled: bool) -> Durability | None:
        return self._change(token, token, _switch(enabled), Leave.LEAVE, 0)

    def choose(self, token: Token, candidates: Iterable[tuple[str, str]]) -> tuple[str, str]:
        return self._rekeyer.choose(token.digest, candidates)

    def rotate(self, token: Token, digest: str, grace_ends_at: int) -> Durability | None:
        with bounded(self._deadline_s):
            self._pepper_check.check()
            marker = markers.compose(token, token, Ending.REPLACED)
            durability = self._rekeyer.move(token.id, token.digest, digest, grace_ends_at, marker)
            if durability:
                with best_effort():
                    self._pepper_check.record_current()
                    self._ended.replace(
                        keys.index_entry(token.id, token.digest),
                        min(grace_ends_at, token.expires_at or grace_ends_at),
                    )
            return durability

    def retire(self, token: Token, digest: str) -> Durability | None:
        with bounded(self._deadline_s):
            durability = self._disk.change(self._retire, [keys.record(digest)], [keys.REMEMBERED_MS])
            with best_effort():
                self._ended.collect([keys.index_entry(token.id, digest)])
            return durability

    def remove(self, token: Token) -> Durability | None:
        with bounded(self._deadline_s):
            # One script and no transaction: a server whose memory is full refuses to queue even a DEL.
            marker = markers.compose(token, token, Ending.DELETED)
            args = [marker, keys.REMEMBERED_MS, int(token.fault is not None)]
            durability = self._disk.change(self._remove, keys.all_of(token.digest), args)
            entry = keys.index_entry(token.id, token.digest)
            with best_effort():
                self._ended.collect([entry])
            with best_effort():
                self._index.drop(entry)
            return durability

    def durability(self) -> Durability:
        with bounded(self._deadline_s):
            return self._disk.glance()

    def usage(self, token: Token, now_s: int) -> Usage:
        with bounded(self._deadline_s):
            return usage.read(self._client, token.digest, now_s)

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

    def count_old_peppers(self) -> int:
        counts, old = self._pages.old_peppers(self._pepper_check.current), 0
        while True:
            with bounded(self._deadline_s):
                count = next(counts, None)
            if count is None:
                return old
            old += count

    def forget_peppers(self) -> None:
        with bounded(self._deadline_s):
            self._pepper_check.forget()

    def _change(
        self,
        token: Token,
        spec: TokenSpec,
        fields: dict[str, str],
        expires_at: int | Leave | None,
        window_s: int,
    ) -> Durability | None:
        end = (-1, 0) if expires_at is Leave.LEAVE else _end(expires_at)
        marker = markers.compose(token, spec, Ending.EXPIRED)
        args = [*end, marker, window_s * 1000, *flat(fields)]
        with bounded(self._deadline_s):
            durability = self._disk.change(self._edit, keys.all_of(token.digest), args)
            if durability and expires_at is not Leave.LEAVE:
                with best_effort():
                    entry, end_s = keys.index_entry(token.id, token.digest), expires_at
                    self._index.score({entry: (NEVER if end_s is None else end_s, UNCHANGED)})
            return durability


def _end(expires_at: int | None) -> tuple[int, int]:
    """Return the expiry and that of its marker, in milliseconds since the epoch; 0 is never."""
    return (0, 0) if expires_at is None else (expires_at * 1000, expires_at * 1000 + keys.REMEMBERED_MS)


def _switch(enabled: bool | None) -> dict[str, str]:  # noqa: FBT001 - it is the only argument
    return {} if enabled is None else {"enabled": "" if enabled else "0"}
