"""The registry's memory: records, and an index that lists them by age and finds them by id."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from app.core.durability import Durability
from app.core.fields import Leave, TokenSpec
from app.core.search import Found, Query
from app.core.tokens import Token
from app.core.usage import Usage
from app.store import keys, records, usage
from app.store.durable import Disk
from app.store.index import Index
from app.store.index_pages import Listing
from app.store.index_records import Reader
from app.store.pepper_check import Canary
from app.store.rekey import Mover
from app.store.transport.cluster import Client
from app.store.transport.deadlines import bounded, spared
from app.store.transport.scripts import Script, flat

_FORM_TTL_S = 3600
_MOST_NAMESAKES = 10


class RedisTokens:
    """Keeps tokens; every method raises StoreUnavailableError when Redis does not play along.

    Every change of a token goes through the disk, which reports how safe it is.
    """

    def __init__(
        self,
        client: Client,
        canary: Canary,
        deadline_s: float,
        report: Callable[[Durability], None] = lambda _: None,
    ) -> None:
        self._client: Any = client  # its stubs return the union of every protocol's answers
        self._canary = canary
        self._deadline_s = deadline_s
        self._disk = Disk(client, report)
        self._add, self._edit, self._remove = Script("add"), Script("edit"), Script("remove")
        self._mover = Mover(client, canary, self._disk.change)
        self._reader, self._index = Reader(client), Index(client)
        self._listing = Listing(client, self._reader, self._index)

    def claim_form(self, nonce: str) -> bool:
        """Tell whether the form with that nonce comes for the first time."""
        with bounded(self._deadline_s):
            return bool(self._client.set(keys.form(nonce), 1, nx=True, ex=_FORM_TTL_S))

    def free_form(self, nonce: str) -> None:
        """Let that form come again, if Redis can be told so."""
        with spared():
            self._client.delete(keys.form(nonce))

    def add(self, token: Token) -> None:
        """Keep a new token, with its end or not at all.

        The index comes first: an entry without a record is pruned, a record without one would be lost.
        """
        record = keys.record(token.digest)
        fields = records.to_fields(token) | {"id": token.id, "created_at": str(token.created_at)}
        with bounded(self._deadline_s):
            self._canary.check()
            self._index.add(keys.index_entry(token.id, token.digest))
            filled = _without_blanks(fields | self._canary.label)
            self._disk.change(self._add, [record], [*_end(token.expires_at), *flat(filled)])
            with spared():
                self._canary.vouch()

    def get(self, digest: str) -> Token | None:
        """Return the token kept under *digest*, or where that moved: a round trip each."""
        with bounded(self._deadline_s):
            return self._reader.token(digest)

    def digests_of(self, token_id: str) -> list[str]:
        """Return the digest of the token with that public id; several, if others wrote it more than once."""
        with bounded(self._deadline_s):
            entries = self._index.beginning(token_id, _MOST_NAMESAKES)
            return [token.digest for token in self._listing.named(entries)]

    def edit(
        self,
        token: Token,
        spec: TokenSpec,
        expires_at: int | Leave | None,
        window_s: int,
        *,
        enabled: bool | None = None,
    ) -> bool:
        """Make *token* what *spec* says, and switch it on or off; False if it is gone or moved.

        An *expires_at* of LEAVE leaves its end, an *enabled* of None leaves that. Of a record that can't be
        read every field is written anew.
        """
        before, after = records.to_fields(token), records.to_fields(spec)
        changed = {name: value for name, value in after.items() if value != before[name]}
        if token.fault:
            changed = after | {"id": token.id}
        return self._change(token, changed | _switch(enabled), expires_at, window_s)

    def enable(self, token: Token, *, enabled: bool) -> bool:
        """Switch *token* on or off; False if it is gone or moved."""
        return self._change(token, _switch(enabled), Leave.LEAVE, 0)

    def choose(self, token: Token, candidates: Iterable[tuple[str, str]]) -> tuple[str, str]:
        """Return the first of *candidates*, texts with their digests, that *token* can be rotated to."""
        return self._mover.choose(token.digest, candidates)

    def rotate(self, token: Token, digest: str, grace_ends_at: int) -> bool:
        """Give *token* another digest, to which the old leads until *grace_ends_at*, 0 for not at all.

        False if it is gone or moved.
        """
        with bounded(self._deadline_s):
            self._canary.check()
            moved = self._mover.move(token.id, token.digest, digest, grace_ends_at)
            with spared():
                if moved:
                    self._canary.vouch()
                else:
                    self._index.drop(keys.index_entry(token.id, digest))
            return moved

    def remove(self, token: Token) -> bool:
        """Forget *token* and all that belongs to it; False if it was gone already.

        One DEL and no transaction: a server whose memory is full refuses to queue even a DEL.
        """
        with bounded(self._deadline_s):
            existed = self._disk.change(self._remove, keys.all_of(token.digest), [])
            with spared():
                self._index.drop(keys.index_entry(token.id, token.digest))
            return existed

    def durability(self) -> Durability:
        """Return what Redis says of its disk; UNTOLD and NO_FILE hold for every change."""
        with bounded(self._deadline_s):
            return self._disk.glance()

    def usage(self, token: Token, now_s: int) -> Usage:
        """Return how often *token* was used."""
        with bounded(self._deadline_s):
            return usage.read(self._client, token.digest, now_s)

    def page(self, number: int, size: int) -> tuple[Sequence[Token], int]:
        """Return the tokens of page *number*, newest first, and the count of all."""
        with bounded(self._deadline_s):
            return self._listing.page(number, size)

    def search(self, query: Query, start: str | None, size: int) -> Found:
        """Return the newest tokens that *query* means, from *start* on; it may take another search."""
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

    def _change(
        self, token: Token, fields: dict[str, str], expires_at: int | Leave | None, window_s: int
    ) -> bool:
        end = (-1, 0) if expires_at is Leave.LEAVE else _end(expires_at)
        with bounded(self._deadline_s):
            return self._disk.change(
                self._edit, keys.all_of(token.digest), [*end, window_s * 1000, *flat(fields)]
            )


def _end(expires_at: int | None) -> tuple[int, int]:
    """Return an end in milliseconds, and until when it is remembered; 0 is never."""
    return (0, 0) if expires_at is None else (expires_at * 1000, expires_at * 1000 + keys.REMEMBERED_MS)


def _switch(enabled: bool | None) -> dict[str, str]:  # noqa: FBT001 - it is the one thing asked
    return {} if enabled is None else {"enabled": "" if enabled else "0"}


def _without_blanks(fields: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in fields.items() if value}
