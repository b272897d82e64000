"""The registry's memory: records, and an index that lists them by age and finds them by id."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import redis

from app.core.tokens import Token, TokenSpec, id_time_ms, inherited_id
from app.store import keys, records
from app.store.errors import bounded

_FORM_TTL_S = 3600
_SCAN_COUNT = 1000
_SCANS_PER_PAGE = 4
_SETTLING_MS = 60_000


class RedisTokens:
    """Keeps tokens; every method raises StoreUnavailableError when Redis does not play along."""

    def __init__(self, client: redis.Redis, deadline_s: float) -> None:
        self._client: Any = client  # its stubs return the union of every protocol's answers
        self._deadline_s = deadline_s

    def claim_form(self, nonce: str) -> bool:
        """Tell whether the form with that nonce comes for the first time."""
        with bounded(self._deadline_s):
            return bool(self._client.set(keys.form(nonce), 1, nx=True, ex=_FORM_TTL_S))

    def add(self, digest: str, token_id: str, created_at: int, spec: TokenSpec) -> Token:
        """Keep a new token, with its expiry or not at all.

        The index comes first: an entry without a record is pruned, a record without one would be lost.
        """
        record = keys.record(digest)
        with bounded(self._deadline_s):
            self._client.zadd(keys.INDEX, {_entry(token_id, digest): 0})
            pipe = self._client.pipeline(transaction=True)
            pipe.hset(record, mapping=records.to_fields(spec, token_id, created_at))
            if spec.ttl_s:
                pipe.expire(record, spec.ttl_s)
            pipe.execute()
            return records.from_spec(digest, token_id, created_at, spec)

    def get(self, digest: str) -> Token | None:
        """Return the token kept under *digest*."""
        with bounded(self._deadline_s):
            return self._read([digest])[0]

    def digest_of(self, token_id: str) -> str | None:
        """Return the digest of the token with that public id."""
        with bounded(self._deadline_s):
            low, high = f"[{token_id}".encode(), f"[{token_id}".encode() + b"\xff" * 33
            entries = self._client.zrange(keys.INDEX, low, high, bylex=True)
            return entries[0][len(token_id) :].hex() if entries else None

    def remove(self, token: Token) -> bool:
        """Forget *token* and all that belongs to it; False if it was gone already."""
        with bounded(self._deadline_s):
            pipe = self._client.pipeline(transaction=True)
            pipe.delete(keys.record(token.digest))
            pipe.delete(keys.window(token.digest))
            existed, _ = pipe.execute()
            self._client.zrem(keys.INDEX, _entry(token.id, token.digest))
            return bool(existed)

    def page(self, number: int, size: int) -> tuple[Sequence[Token], int]:
        """Return the tokens of page *number*, newest first, and the count of all."""
        with bounded(self._deadline_s):
            self._adopt(_SCANS_PER_PAGE)
            start = (number - 1) * size
            while True:
                entries = self._client.zrange(keys.INDEX, start, start + size - 1, desc=True)
                found = self._read([entry[-32:].hex() for entry in entries])
                if not self._prune(entry for entry, token in zip(entries, found, strict=True) if not token):
                    return [token for token in found if token], self._client.zcard(keys.INDEX)

    def adopt_all(self) -> None:
        """Find every token that others wrote, however many there are."""
        more = True
        while more:
            with bounded(self._deadline_s):
                more = self._adopt(_SCANS_PER_PAGE)

    def _read(self, digests: Sequence[str]) -> list[Token | None]:
        pipe = self._client.pipeline(transaction=False)
        for digest in digests:
            pipe.hmget(keys.record(digest), records.FIELDS)
            pipe.execute_command("EXPIRETIME", keys.record(digest))
        replies: list[Any] = pipe.execute()
        return [
            records.from_fields(digest, values, expires_at if expires_at > 0 else None)
            for digest, values, expires_at in zip(digests, replies[::2], replies[1::2], strict=True)
        ]

    def _prune(self, entries: Iterable[bytes]) -> int:
        """Drop index entries whose token is gone, but none so young that its record may yet come."""
        seconds, _ = self._client.time()
        settled_ms = seconds * 1000 - _SETTLING_MS
        gone = [entry for entry in entries if id_time_ms(entry[:16].decode()) < settled_ms]
        return self._client.zrem(keys.INDEX, *gone) if gone else 0

    def _adopt(self, scans: int) -> bool:
        """Index tokens that others wrote, going on where the last search stopped; never blocks Redis.

        Return whether there is more to search.
        """
        cursor = int(self._client.get(keys.ADOPTION_CURSOR) or 0)
        for _ in range(scans):
            cursor, found = self._client.scan(cursor, match=keys.RECORD_PATTERN, count=_SCAN_COUNT)
            self._index([digest for key in found if (digest := keys.digest_in(key))])
            if cursor == 0:
                break
        self._client.set(keys.ADOPTION_CURSOR, cursor)
        return cursor != 0

    def _index(self, digests: Sequence[str]) -> None:
        pipe = self._client.pipeline(transaction=False)
        for digest in digests:
            pipe.hget(keys.record(digest), "id")
        strangers = [d for d, token_id in zip(digests, pipe.execute(), strict=True) if token_id is None]
        if strangers:
            self._client.zadd(keys.INDEX, {_entry(inherited_id(d), d): 0 for d in strangers})


def _entry(token_id: str, digest: str) -> bytes:
    return token_id.encode() + bytes.fromhex(digest)
