"""The registry's memory: records, and an index that lists them by age and finds them by id."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import redis

from app.core.search import Found, Query
from app.core.tokens import Token, TokenSpec
from app.core.usage import Usage
from app.store import keys, records, usage
from app.store.canary import Canary
from app.store.errors import bounded
from app.store.listing import Listing
from app.store.moves import MAX_MOVES, Mover
from app.store.reader import Reader
from app.store.scripts import Script, flat

_FORM_TTL_S = 3600


class RedisTokens:
    """Keeps tokens; every method raises StoreUnavailableError when Redis does not play along."""

    def __init__(self, client: redis.Redis, canary: Canary, deadline_s: float) -> None:
        self._client: Any = client  # its stubs return the union of every protocol's answers
        self._canary = canary
        self._deadline_s = deadline_s
        self._edit = Script("edit")
        self._mover = Mover(client, canary)
        self._reader = Reader(client)
        self._listing = Listing(client)

    def claim_form(self, nonce: str) -> bool:
        """Tell whether the form with that nonce comes for the first time."""
        with bounded(self._deadline_s):
            return bool(self._client.set(keys.form(nonce), 1, nx=True, ex=_FORM_TTL_S))

    def add(self, token: Token, ttl_s: int) -> None:
        """Keep a new token, with its life or not at all.

        The index comes first: an entry without a record is pruned, a record without one would be lost.
        """
        record = keys.record(token.digest)
        fields = records.to_fields(token) | {"id": token.id, "created_at": str(token.created_at)}
        with bounded(self._deadline_s):
            self._canary.check()
            self._client.zadd(keys.INDEX, {keys.index_entry(token.id, token.digest): 0})
            pipe = self._client.pipeline(transaction=True)
            pipe.hset(record, mapping=_without_blanks(fields | self._canary.label))
            if ttl_s:
                pipe.expire(record, ttl_s)
            pipe.execute()
            self._canary.vouch()

    def get(self, digest: str) -> Token | None:
        """Return the token kept under *digest*, or where that moved."""
        with bounded(self._deadline_s):
            for _ in range(MAX_MOVES):
                moved_to = self._client.hget(keys.record(digest), "moved_to")
                if moved_to is None:
                    return self._reader.tokens([digest])[0]
                digest = moved_to.decode()
            return None

    def digest_of(self, token_id: str) -> str | None:
        """Return the digest of the token with that public id."""
        with bounded(self._deadline_s):
            low = f"[{token_id}".encode()
            entries = self._client.zrange(keys.INDEX, low, low + b"\xff" * 33, bylex=True)
            digests = [keys.digest_of_entry(entry) for entry in entries]
            found = [token for token in self._reader.tokens(digests) if token]
            return found[0].digest if found else None

    def edit(self, token: Token, spec: TokenSpec, ttl_s: int | None, window_s: int) -> bool:
        """Make *token* what *spec* says; a *ttl_s* of None leaves its life. False if it is gone or moved."""
        before, after = records.to_fields(token), records.to_fields(spec)
        return self._change(token, {n: v for n, v in after.items() if v != before[n]}, ttl_s, window_s)

    def enable(self, token: Token, *, enabled: bool) -> bool:
        """Switch *token* on or off; False if it is gone or moved."""
        return self._change(token, {"enabled": "" if enabled else "0"}, None, 0)

    def rotate(self, token: Token, digest: str, grace_s: int) -> bool:
        """Give *token* another digest, to which the old leads for *grace_s*; False if it is gone or moved."""
        with bounded(self._deadline_s):
            self._canary.check()
            moved = self._mover.move(token.id, token.digest, digest, grace_s)
            if moved:
                self._canary.vouch()
            else:
                self._client.zrem(keys.INDEX, keys.index_entry(token.id, digest))
            return moved

    def remove(self, token: Token) -> bool:
        """Forget *token* and all that belongs to it; False if it was gone already."""
        with bounded(self._deadline_s):
            pipe = self._client.pipeline(transaction=True)
            for key in keys.all_of(token.digest):
                pipe.delete(key)
            existed, *_ = pipe.execute()
            self._client.zrem(keys.INDEX, keys.index_entry(token.id, token.digest))
            return bool(existed)

    def usage(self, token: Token, now_s: int) -> Usage:
        """Return how often *token* was used."""
        with bounded(self._deadline_s):
            return usage.parse(self._client.get(keys.usage(token.digest)), now_s)

    def page(self, number: int, size: int) -> tuple[Sequence[Token], int]:
        """Return the tokens of page *number*, newest first, and the count of all."""
        with bounded(self._deadline_s):
            return self._listing.page(number, size)

    def search(self, query: Query, start: str | None, size: int) -> Found:
        """Return the newest tokens that *query* means, from the id *start* on; it may take another search."""
        with bounded(self._deadline_s):
            return self._listing.search(query, start, size)

    def adopt_all(self) -> None:
        """Find every token that others wrote, however many there are."""
        cursor, more = 0, True
        while more:
            with bounded(self._deadline_s):
                cursor = self._listing.adoption.step(cursor)
            more = cursor != 0

    def count_old_peppers(self) -> int:
        """Return how many tokens have not met the current pepper since PEPPER_PREVIOUS was set."""
        counts, old = self._listing.old_peppers(self._canary.current), 0
        while True:
            with bounded(self._deadline_s):
                count = next(counts, None)
            if count is None:
                return old
            old += count

    def forget_peppers(self) -> None:
        """Let the next pepper that comes be taken for the right one."""
        with bounded(self._deadline_s):
            self._canary.forget()

    def _change(self, token: Token, fields: dict[str, str], ttl_s: int | None, window_s: int) -> bool:
        life_ms = -1 if ttl_s is None else ttl_s * 1000
        with bounded(self._deadline_s):
            return bool(
                self._edit.run(
                    self._client, keys.all_of(token.digest), [life_ms, window_s * 1000, *flat(fields)]
                )
            )


def _without_blanks(fields: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in fields.items() if value}
