"""The table of all tokens, and the search in it; one request never takes long, however many there are."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

from app.core.search import Found, Kind, Query
from app.core.tokens import Token, id_time_ms
from app.store import keys, records
from app.store.adoption import Adoption
from app.store.cluster import Client
from app.store.reader import Reader, upper_bound

_PATIENCE_S = 0.08
_SETTLING_MS = 60_000
_PRUNED_AHEAD = 1000


class Listing:
    """Lists and searches the index, and keeps it clean of tokens that have expired."""

    def __init__(self, client: Client) -> None:
        self._client: Any = client
        self._reader = Reader(client)
        self.adoption = Adoption(client, self._reader)

    def page(self, number: int, size: int) -> tuple[Sequence[Token], int]:
        """Return the tokens of page *number*, newest first, and the count of all."""
        until = time.monotonic() + _PATIENCE_S
        self.adoption.go_on()
        start = (number - 1) * size
        while True:
            entries = self._ranked(start, size)
            found = self._reader.tokens([keys.digest_of_entry(entry) for entry in entries])
            kept = [token for token in found if token]
            if len(kept) == len(entries) or not self._prune(start) or time.monotonic() > until:
                return kept, self._client.zcard(keys.INDEX)

    def search(self, query: Query, start: str | None, size: int) -> Found:
        """Return the newest tokens that *query* means, from the id *start* on; it may take another search."""
        until = time.monotonic() + _PATIENCE_S
        if start is None:
            self.adoption.go_on()
        hits: list[bytes] = []
        more: bytes | None = None
        for entries, rest in self._reader.walk(*_bounds(query, start)):
            hits += self._hits(query, entries)
            more = hits[size] if len(hits) > size else rest
            if len(hits) > size or time.monotonic() > until:
                break
        return self._found(query, hits[:size], keys.id_of_entry(more) if more else None)

    def old_peppers(self, current: str) -> Iterator[int]:
        """Yield how many tokens do not name the pepper *current*, slice by slice."""
        for entries, _ in self._reader.walk():
            said = self._reader.fields(_digests(entries), "hosts", "pepper")
            yield sum(hosts is not None and pepper != current for hosts, pepper in said)

    def _found(self, query: Query, hits: Sequence[bytes], more: str | None) -> Found:
        kept = [token for token in self._reader.tokens(_digests(hits)) if token]
        total = self._client.zcard(keys.INDEX)
        searched = self._client.zlexcount(keys.INDEX, b"(" + upper_bound(more), b"+") if more else total
        return Found(query, tuple(kept), searched, total, more, self.adoption.is_finished())

    def _hits(self, query: Query, entries: Sequence[bytes]) -> list[bytes]:
        if query.kind is Kind.ID:
            return list(entries)
        name = "email" if query.kind is Kind.EMAIL else "hosts"
        said = self._reader.fields(_digests(entries), name)
        return [entry for entry, (text,) in zip(entries, said, strict=True) if text and _means(query, text)]

    def _ranked(self, start: int, count: int) -> list[bytes]:
        return list(self._client.zrange(keys.INDEX, start, start + count - 1, desc=True))

    def _prune(self, start: int) -> int:
        """Drop index entries whose token is gone, but none so young that its record may yet come."""
        seconds, _ = self._client.time()
        settled_ms = seconds * 1000 - _SETTLING_MS
        entries = self._ranked(start, _PRUNED_AHEAD)
        said = self._reader.fields(_digests(entries), *records.TELLING)
        gone = [
            entry
            for entry, values in zip(entries, said, strict=True)
            if not records.is_token(values) and id_time_ms(keys.id_of_entry(entry)) < settled_ms
        ]
        return self._client.zrem(keys.INDEX, *gone) if gone else 0


def _bounds(query: Query, start: str | None) -> tuple[bytes, bytes]:
    is_id = query.kind is Kind.ID
    lower = b"[" + query.text.encode() if is_id else b"-"
    if start is None:
        return (b"[" + upper_bound(query.text) if is_id else b"+"), lower
    return b"[" + upper_bound(start), lower


def _means(query: Query, text: str) -> bool:
    if query.kind is Kind.EMAIL:
        return query.text in text.lower()
    return not query.patterns.isdisjoint(records.hosts_of(text))


def _digests(entries: Sequence[bytes]) -> list[str]:
    return [keys.digest_of_entry(entry) for entry in entries]
