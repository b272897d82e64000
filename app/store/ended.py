"""The list of tokens that ended, by when they ended (docs/decisions/0025).

Other programs may have written to its key: a key of another type is deleted, and an entry without an expiry
marker is dropped when it is read.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import starmap
from typing import Any, TypeVar

from app.core.ended import MAX_ENDED, EndedToken, FoundEnded
from app.core.search import Kind, Query
from app.store import keys, markers
from app.store.repair import repaired
from app.store.transport.cluster import Client, by_server
from app.store.transport.deadlines import best_effort
from app.store.transport.scripts import Script

_PATIENCE_S = 0.08
_PER_BATCH = 125
_SCAN_COUNT = 1000
_T = TypeVar("_T")
_log = logging.getLogger(__name__)


class EndedTokens:
    """Lists at most MAX_ENDED tokens that ended, each as long as its expiry marker exists."""

    def __init__(self, client: Client) -> None:
        self._client: Any = client
        self._recall = Script("recall")

    def collect(self, entries: Sequence[bytes]) -> set[bytes]:
        """Add those of *entries*, members of the index, whose tokens have ended; return them.

        They are returned even if they can't be added, for example because memory is full.
        """
        found = zip(entries, self.read(entries), strict=True)
        ended = {entry: token.ended_at for entry, token in found if token}
        with best_effort():
            self.add(ended)
        return set(ended)

    def add(self, ended_at: Mapping[bytes, int]) -> None:
        """Add entries with the times of their ends; beyond MAX_ENDED, forget those that ended first."""
        if ended_at:
            self._repaired(lambda: self._client.zadd(keys.ENDED, ended_at))
            self.forget(self._repaired(lambda: self._client.zrange(keys.ENDED, 0, -MAX_ENDED - 1)))

    def replace(self, entry: bytes, grace_ends_at: int) -> None:
        """Add *entry* of a replaced secret, for the time after its grace period; 0 is no such period."""
        if grace_ends_at:
            self.add({entry: grace_ends_at + 1})
        else:
            self.collect([entry])

    def forget(self, entries: Sequence[bytes]) -> None:
        """Drop *entries* and the expiry markers of their tokens, except those of tokens that exist."""
        if entries:
            pipe = self._client.pipeline(transaction=False)
            for token in filter(None, self.read(entries)):
                pipe.delete(keys.ended(token.digest))
            pipe.zrem(keys.ENDED, *entries)
            pipe.execute()

    def read(self, entries: Sequence[bytes]) -> list[EndedToken | None]:
        """Return the token of each entry, or None if it has not ended, or is not remembered."""
        valid = [entry for entry in entries if keys.is_entry(entry)]
        found = dict(zip(valid, self.under(list(map(keys.digest_of_entry, valid))), strict=True))
        tokens = ((entry, found.get(entry)) for entry in entries)
        return [token if token and token.id == keys.id_of_entry(entry) else None for entry, token in tokens]

    def under(self, digests: Sequence[str]) -> list[EndedToken | None]:
        """Return the token of each of *digests*, or None if it has not ended, or is not remembered."""
        found: dict[str, EndedToken | None] = {}
        for client, served in by_server(self._client, digests, keys.record):
            for i in range(0, len(served), _PER_BATCH):
                batch = served[i : i + _PER_BATCH]
                now_s, *texts = self._recall.run(client, [], ["".join(batch)]).split(b"\0")
                tokens = (_parse(digest, text, int(now_s)) for digest, text in zip(batch, texts, strict=True))
                found |= zip(batch, tokens, strict=True)
        return [found[digest] for digest in digests]

    def with_id(self, token_id: str) -> list[EndedToken]:
        """Return the ends of the token with that id: its own, and those of secrets that were replaced."""

        def scan() -> list[bytes]:
            members = self._client.zscan_iter(keys.ENDED, match=f"{token_id}*", count=_SCAN_COUNT)
            return [member for member, _ in members]

        return list(filter(None, self.read(self._repaired(scan))))

    def newest(self, query: Query | None, start: str | None, size: int) -> FoundEnded:
        """Return the tokens that ended last, or those that match *query*, from the cursor *start* on."""
        until = time.monotonic() + _PATIENCE_S
        hits: list[tuple[str, EndedToken]] = []
        while True:
            found, total, more = self._page(start, _PER_BATCH if query else size)
            hits += [(cursor, token) for cursor, token in found if query is None or _matches(query, token)]
            if len(hits) > size:
                more, _ = hits[size]
            if len(hits) >= size or more is None or time.monotonic() > until:
                return FoundEnded(tuple(token for _, token in hits[:size]), total, more)
            start = more

    def _page(self, start: str | None, size: int) -> tuple[list[tuple[str, EndedToken]], int, str | None]:
        """Return some tokens by their cursors, the number of all and the next cursor.

        Invalid entries are dropped first, as far as time permits.
        """
        until = time.monotonic() + _PATIENCE_S
        while True:
            scores, total = self._repaired(lambda: self._slice(start, size + 1))
            found = list(zip(starmap(_cursor, scores.items()), self.read([*scores]), strict=True))
            invalid = [entry for entry, (_, token) in zip(scores, found, strict=True) if not token]
            if not invalid or time.monotonic() > until:
                more = found[size][0] if len(found) > size else None
                return [(cursor, token) for cursor, token in found[:size] if token], total, more
            self._client.zrem(keys.ENDED, *invalid)

    def _slice(self, start: str | None, count: int) -> tuple[dict[bytes, float], int]:
        """Return *count* entries of tokens that have ended, and the number of all, without those too old."""
        now_s, _ = self._client.time()
        self._client.zremrangebyscore(keys.ENDED, "-inf", now_s - keys.REMEMBERED_MS // 1000)
        total = int(self._client.zcount(keys.ENDED, "-inf", now_s))
        first = self._before(start, now_s) if start else 0
        scores = self._client.zrange(
            keys.ENDED, now_s, "-inf", desc=True, byscore=True, offset=first, num=count, withscores=True
        )
        return dict(scores), total

    def _before(self, cursor: str, now_s: int) -> int:
        """Return how many entries come before *cursor*, whether or not its own still exists."""
        score, _, entry = cursor.partition("-")
        same_score = self._client.zrange(keys.ENDED, score, min(float(score), now_s), byscore=True)
        later: int = sum(other > bytes.fromhex(entry) for other in same_score)
        return int(self._client.zcount(keys.ENDED, f"({score}", now_s)) + later

    def _repaired(self, call: Callable[[], _T]) -> _T:
        return repaired(call, self._discard)

    def _discard(self) -> None:
        """Delete a key of another type in place of the list."""
        _log.error("%s in Redis is not a list of ended tokens; starting a new one", keys.ENDED)
        self._client.delete(keys.ENDED)


def _cursor(entry: bytes, score: float) -> str:
    """Return the cursor of *entry*; an invalid one may be long, and is cut."""
    return f"{score:.17g}-{entry[: keys.ENTRY_BYTES].hex()}"


def _parse(digest: str, text: bytes, now_s: int) -> EndedToken | None:
    """Return the token in a reply of recall.lua, or None if there is none, or if its end is still to come."""
    if not text:
        return None
    expires_ms, _, marker = text.partition(b" ")
    token = markers.parse(digest, marker, int(expires_ms))
    return token if token.ended_at <= now_s else None


def _matches(query: Query, token: EndedToken) -> bool:
    match query.kind:
        case Kind.ID:
            return token.id.startswith(query.text)
        case Kind.DIGEST:
            return token.digest == query.text
        case _:
            is_listed = not query.patterns.isdisjoint(token.hosts)
            return is_listed or query.is_in_email(token.email) or query.is_in_comment(token.comment)
