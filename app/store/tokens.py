"""The registry's memory: records, and an index that lists them by age and finds them by id."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import redis

from app.core.tokens import Token, TokenSpec, id_time_ms
from app.core.usage import Usage
from app.store import keys, records, usage
from app.store.canary import Canary
from app.store.errors import bounded
from app.store.moves import MAX_MOVES, Mover
from app.store.scripts import Script, flat

_FORM_TTL_S = 3600
_SCAN_COUNT = 1000
_SCANS_PER_PAGE = 2
_MOST_MET = 50_000
_SETTLING_MS = 60_000


class RedisTokens:
    """Keeps tokens; every method raises StoreUnavailableError when Redis does not play along."""

    def __init__(self, client: redis.Redis, canary: Canary, deadline_s: float) -> None:
        self._client: Any = client  # its stubs return the union of every protocol's answers
        self._canary = canary
        self._deadline_s = deadline_s
        self._edit = Script("edit")
        self._mover = Mover(client, canary)
        self._entries: dict[str, bytes] = {}  # of tokens met, some

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
                    return self._read([digest])[0]
                digest = moved_to.decode()
            return None

    def digest_of(self, token_id: str) -> str | None:
        """Return the digest of the token with that public id."""
        with bounded(self._deadline_s):
            low = f"[{token_id}".encode()
            entries = self._client.zrange(keys.INDEX, low, low + b"\xff" * 33, bylex=True)
            digests = [keys.digest_of_entry(entry) for entry in entries]
            found = [token for token in self._read(digests) if token]
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
        """Forget *token* and all that belongs to it; False if it was gone already.

        One DEL and no transaction: a server whose memory is full refuses to queue even a DEL.
        """
        with bounded(self._deadline_s):
            existed = self._client.delete(*keys.all_of(token.digest))
            self._client.zrem(keys.INDEX, keys.index_entry(token.id, token.digest))
            return bool(existed)

    def usage(self, token: Token, now_s: int) -> Usage:
        """Return how often *token* was used."""
        with bounded(self._deadline_s):
            return usage.parse(self._client.get(keys.usage(token.digest)), now_s)

    def page(self, number: int, size: int) -> tuple[Sequence[Token], int]:
        """Return the tokens of page *number*, newest first, and the count of all."""
        with bounded(self._deadline_s):
            self._adopt(_SCANS_PER_PAGE)
            start = (number - 1) * size
            while True:
                entries = self._client.zrange(keys.INDEX, start, start + size - 1, desc=True)
                found = self._read([keys.digest_of_entry(entry) for entry in entries])
                if not self._prune(entry for entry, token in zip(entries, found, strict=True) if not token):
                    return [token for token in found if token], self._client.zcard(keys.INDEX)

    def adopt_all(self) -> None:
        """Find every token that others wrote, however many there are."""
        more = True
        while more:
            with bounded(self._deadline_s):
                more = self._adopt(_SCANS_PER_PAGE)

    def count_old_peppers(self) -> int:
        """Return how many tokens have not met the current pepper since PEPPER_PREVIOUS was set."""
        with bounded(self._deadline_s):
            entries = self._client.zrange(keys.INDEX, 0, -1)
        return sum(self._count_old(entries[i : i + _SCAN_COUNT]) for i in range(0, len(entries), _SCAN_COUNT))

    def _count_old(self, entries: Sequence[bytes]) -> int:
        with bounded(self._deadline_s):
            pipe = self._client.pipeline(transaction=False)
            for entry in entries:
                pipe.hmget(keys.record(keys.digest_of_entry(entry)), "hosts", "pepper")
            return sum(
                hosts is not None and pepper != self._canary.current.encode()
                for hosts, pepper in pipe.execute()
            )

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

    def _read(self, digests: Sequence[str]) -> list[Token | None]:
        pipe = self._client.pipeline(transaction=False)
        for digest in digests:
            pipe.hmget(keys.record(digest), records.FIELDS)
            pipe.execute_command("EXPIRETIME", keys.record(digest))
        replies = pipe.execute()
        return [
            records.from_fields(digest, values, expires_at if expires_at > 0 else None)
            for digest, values, expires_at in zip(digests, replies[::2], replies[1::2], strict=True)
        ]

    def _prune(self, entries: Iterable[bytes]) -> int:
        """Drop index entries whose token is gone, but none so young that its record may yet come."""
        seconds, _ = self._client.time()
        settled_ms = seconds * 1000 - _SETTLING_MS
        gone = [entry for entry in entries if id_time_ms(keys.id_of_entry(entry)) < settled_ms]
        return self._client.zrem(keys.INDEX, *gone) if gone else 0

    def _adopt(self, scans: int) -> bool:
        """Index tokens that others wrote, going on where the last search stopped; never blocks Redis.

        Return whether there is more to search.
        """
        cursor = int(self._client.get(keys.ADOPTION_CURSOR) or 0)
        for _ in range(scans):
            cursor, names = self._client.scan(cursor, match=keys.RECORD_PATTERN, count=_SCAN_COUNT)
            self._index(self._strangers({digest for name in names if (digest := keys.digest_in(name))}))
            if cursor == 0:
                break
        self._client.set(keys.ADOPTION_CURSOR, cursor)
        return cursor != 0

    def _strangers(self, digests: set[str]) -> list[str]:
        """Return those of *digests* that may lack an entry; one glance at the index clears the others."""
        met = [digest for digest in digests if digest in self._entries]
        entries = [self._entries[digest] for digest in met]
        scores = self._client.zmscore(keys.INDEX, entries) if entries else []
        lost = [digest for digest, score in zip(met, scores, strict=True) if score is None]
        return [*lost, *digests.difference(met)]

    def _index(self, digests: Sequence[str]) -> None:
        pipe = self._client.pipeline(transaction=False)
        for digest in digests:
            pipe.hmget(keys.record(digest), "id", "moved_to")
        found = zip(digests, pipe.execute(), strict=True)
        entries = {
            digest: keys.index_entry(records.id_of(digest, token_id), digest)
            for digest, (token_id, moved_to) in found
            if moved_to is None
        }
        if entries:
            self._client.zadd(keys.INDEX, dict.fromkeys(entries.values(), 0))
        if len(self._entries) > _MOST_MET:
            self._entries.clear()
        self._entries |= entries


def _without_blanks(fields: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in fields.items() if value}
