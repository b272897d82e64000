"""Change tokens in Redis: a script makes each change together with its audit entry.

See docs/decisions/0002, 0010, 0019, 0025, 0027 and 0031.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import copy
from typing import Any

from app.core.audit import Action, Actor
from app.core.durability import Durability
from app.core.ended import Ending
from app.core.fields import Draft, Leave
from app.core.token_store import TokenChanges
from app.core.tokens import Token
from app.store import keys, markers, records
from app.store.claims import RedisClaims
from app.store.durable import Disk
from app.store.ended import EndedTokens
from app.store.index import Index
from app.store.index_records import RecordReader
from app.store.pepper_check import PepperCheck
from app.store.rekey import Redirect, Rekeyer, tentative
from app.store.tokens import RedisTokens
from app.store.trail import Trail
from app.store.transport.cluster import Client
from app.store.transport.deadlines import best_effort, bounded
from app.store.transport.scripts import CHANGE, Script, flat

_CLAIM_TTL_S = 3600


class RedisChanges(TokenChanges):
    """Stores each token in a hash; Disk reports how durable a change is, and *trail* records it."""

    def __init__(  # noqa: PLR0913 - each is shared with others
        self,
        client: Client,
        tokens: RedisTokens,
        pepper_check: PepperCheck,
        deadline_s: float,
        trail: Trail,
        *,
        asks: bool = True,
    ) -> None:
        self._client: Any = client  # its stubs return the union of every protocol's replies
        self._tokens = tokens
        self._pepper_check = pepper_check
        self._deadline_s = deadline_s
        self._trail = trail
        self._disk = Disk(client, trail.report, trail.on_change, asks=asks)
        self._add, self._edit = Script("add", *CHANGE), Script("edit", *CHANGE)
        self._remove, self._retire = Script("remove", *CHANGE), Script("retire", *CHANGE)
        self._rekeyer = Rekeyer(client, pepper_check, self._disk.change)
        self._index, self._ended = Index(client), EndedTokens(client)
        self._reader = RecordReader(client)
        self._is_strict = False
        self.claims = RedisClaims(client, deadline_s)

    def strict(self) -> RedisChanges:
        other = copy(self)
        other._is_strict = True  # noqa: SLF001 - it is one of us
        return other

    def claim(self, name: str) -> bool:
        with bounded(self._deadline_s):
            return bool(self._client.set(keys.rotation(name), 1, nx=True, ex=_CLAIM_TTL_S))

    def release(self, name: str) -> None:
        with best_effort():
            self._client.delete(keys.rotation(name))

    def add(self, actor: Actor, token: Token, *, with_voucher: bool = False) -> Durability | None:
        entry = keys.index_entry(token.id, token.digest)
        with bounded(self._deadline_s):
            self._pepper_check.check()
            # First: an entry without a record is pruned, a record without an entry would be lost.
            self._index.add(entry, expires_at=token.expires_at)
            marker = markers.compose(token, token, Ending.EXPIRED)
            more = {"voucher": keys.voucher(token.digest, token.id)} if with_voucher else {}
            trail = self._trail.argument(actor, Action.CREATE, token, **more)
            fields = records.new(token) | self._pepper_check.label
            args = [*_end(token.expires_at), marker, *flat(fields), trail]
            with tentative(self._index, entry):
                durability = self._disk.change(self._add, [keys.record(token.digest)], args)
            with best_effort():
                if durability:
                    self._pepper_check.record_current()
                    self._tokens.sweep_some()
                else:
                    self._index.drop(entry)
            return durability

    def edit(  # noqa: PLR0913 - as in the protocol
        self,
        actor: Actor,
        token: Token,
        draft: Draft,
        window_s: int,
        *,
        enabled: bool | None = None,
        managed: str | None = None,
    ) -> Durability | None:
        before, after = records.to_fields(token), records.to_fields(draft.spec)
        changed = {name: value for name, value in after.items() if value != before[name]}
        if token.fault:  # the fields that could be read may be wrong
            changed = after | {"id": token.id, "quota_used": ""}
        end = (-1, 0) if draft.expires_at is Leave.LEAVE else _end(draft.expires_at)
        args = [*end, markers.compose(token, draft.spec, Ending.EXPIRED), window_s * 1000]
        is_switch = enabled is not None and not (changed or managed) and draft.expires_at is Leave.LEAVE
        action = _switch(enabled=bool(enabled)) if is_switch else Action.EDIT
        trail = self._trail.argument(actor, action, token, **self._expected(token))
        marks = records.marks(enabled=enabled, managed=managed)
        return self._change(token, [*args, *flat(changed | marks), trail], draft.expires_at)

    def enable(self, actor: Actor, token: Token, *, enabled: bool) -> Durability | None:
        trail = self._trail.argument(actor, _switch(enabled=enabled), token)
        args = [-1, 0, markers.compose(token, token, Ending.EXPIRED), 0]
        return self._change(token, [*args, *flat(records.marks(enabled=enabled)), trail], Leave.LEAVE)

    def choose(self, token: Token, candidates: Iterable[tuple[str, str]]) -> tuple[str, str]:
        return self._rekeyer.choose(token.digest, candidates)

    def rotate(self, actor: Actor, token: Token, digest: str, grace_ends_at: int) -> Durability | None:
        with bounded(self._deadline_s):
            self._pepper_check.check()
            marker = markers.compose(token, token, Ending.REPLACED)
            expected = self._expected(token)
            trail = self._trail.argument(actor, Action.ROTATE, token, **expected)
            redirect = Redirect(grace_ends_at, marker, trail)
            durability = self._rekeyer.move(token.id, token.digest, digest, redirect)
            if durability:
                with best_effort():
                    self._pepper_check.record_current()
                    self._ended.replace(
                        keys.index_entry(token.id, token.digest),
                        min(grace_ends_at, token.expires_at or grace_ends_at),
                    )
            return durability

    def retire(self, actor: Actor, token: Token, digest: str) -> Durability | None:
        with bounded(self._deadline_s):
            names = [keys.record(digest)]
            args = [keys.REMEMBERED_MS, self._trail.argument(actor, Action.RETIRE, token)]
            durability = self._disk.change(self._retire, names, args)
            with best_effort():
                self._ended.collect([keys.index_entry(token.id, digest)])
            return durability

    def remove(self, actor: Actor, token: Token) -> Durability | None:
        with bounded(self._deadline_s):
            # One script and no transaction: a server whose memory is full refuses to queue even a DEL.
            marker = markers.compose(token, token, Ending.DELETED)
            expected = self._expected(token)
            trail = self._trail.argument(actor, Action.DELETE, token, **expected)
            args = [marker, keys.REMEMBERED_MS, int(token.fault is not None), trail]
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

    def forget_peppers(self) -> None:
        with bounded(self._deadline_s):
            self._pepper_check.forget()

    def _expected(self, token: Token) -> dict[str, Any]:
        """Return what the scripts compare the record of *token* with; raise PreconditionFailedError."""
        return {"expected": self._reader.state_of(token)} if self._is_strict else {}

    def _change(self, token: Token, args: Sequence[Any], expires_at: int | Leave | None) -> Durability | None:
        with bounded(self._deadline_s):
            durability = self._disk.change(self._edit, keys.all_of(token.digest), args)
            if durability and expires_at is not Leave.LEAVE:
                with best_effort():
                    self._index.expire(keys.index_entry(token.id, token.digest), expires_at)
            return durability


def _switch(*, enabled: bool) -> Action:
    return Action.ENABLE if enabled else Action.DISABLE


def _end(expires_at: int | None) -> tuple[int, int]:
    """Return the expiry and that of its marker, in milliseconds since the epoch; 0 is never."""
    return (0, 0) if expires_at is None else (expires_at * 1000, expires_at * 1000 + keys.REMEMBERED_MS)
