"""Create, change and end the tokens that a file declares (docs/decisions/0030)."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Protocol

from app.core import apply, fields, tokens
from app.core.apply import Create, End, Plan, Step, Update
from app.core.audit import Actor, Via
from app.core.declared import Declared, Rules, Wanted
from app.core.durability import Durability
from app.core.errors import BusyError, ConflictError, StoreUnavailableError
from app.core.fields import Draft, Leave
from app.core.token_store import TokenChanges, TokenStore
from app.core.tokens import Token

ACTOR = Actor(Via.FILE, "TOKENS_FILE")
_CHANGED = "tokens.{}: another program changed its token in the meantime; apply the file again"
_LOST = "the turn to change managed tokens ended before all was done; apply the file again"


class ManagedStore(Protocol):
    """Knows which tokens a file manages, and lets one process at a time change them.

    Each method raises StoreUnavailableError when the store can't answer.
    """

    def digests(self) -> list[str]:
        """Return the digests of the managed tokens; some may be of tokens that have ended or moved."""
        ...

    def note(self, digest: str) -> None:
        """Remember that the token under *digest* is managed, or is about to be."""
        ...

    def forget(self, digest: str) -> None:
        """Forget *digest*, if the store can be reached."""
        ...

    def take_turn(self, owner: str) -> bool:
        """Return whether *owner* may change managed tokens from now on, because nobody else does."""
        ...

    def keep_turn(self, owner: str) -> bool:
        """Extend the turn of *owner*; return False if it has ended."""
        ...

    def end_turn(self, owner: str) -> Durability | None:
        """End the turn of *owner*; return the durability of all changes that it made on that server."""
        ...


@dataclass(frozen=True, slots=True)
class Applied:
    """What was done, and whether a crash of Redis may undo it."""

    plan: Plan
    durability: Durability


class Applier:
    """Makes the stored tokens those that a file declares, step by step that ``core/apply.py`` plans."""

    def __init__(
        self,
        store: TokenStore,
        changes: TokenChanges,
        managed: ManagedStore,
        rules: Rules,
        now: Callable[[], float],
    ) -> None:
        self._store = store
        self._changes = changes
        self._managed = managed
        self._rules = rules
        self._now = now

    def plan(self, declared: Iterable[Declared], *, prune: bool) -> Plan:
        """Return what ``apply`` would do now; raises InvalidFileError and ConflictError."""
        now_s, find = int(self._now()), cache(self._store.get)
        wanted = self._rules.wanted(declared, now_s)
        found = filter(None, map(find, self._managed.digests()))
        stored = {token.digest: token for token in found if token.managed}
        return apply.plan(wanted, find, [*stored.values()], now_s, prune=prune)

    def apply(
        self, declared: Sequence[Declared], *, prune: bool, report: Callable[[Step], None] = lambda _: None
    ) -> Applied:
        """Make the stored tokens those that are *declared*, and *report* each step once it is done.

        Raises InvalidFileError and BusyError before the first step. After ConflictError and
        StoreUnavailableError, another call continues.
        """
        plan = self.plan(declared, prune=prune)
        if not plan.steps and not self._unknown(plan):
            return Applied(plan, Durability.CONFIRMED)
        with self._turn() as (owner, durabilities):
            plan = self.plan(declared, prune=prune)
            self._recollect(plan)
            for step in plan.steps:
                if not self._managed.keep_turn(owner):
                    raise ConflictError(_LOST)
                durabilities.append(self._do(step))
                report(step)
        return Applied(plan, _worst(durabilities))

    @contextmanager
    def _turn(self) -> Iterator[tuple[str, list[Durability]]]:
        """Take the turn for the block; add to the durability of its changes when the turn ends."""
        owner, durabilities = secrets.token_hex(16), list[Durability]()
        if not self._managed.take_turn(owner):
            raise BusyError("another process is applying a tokens file; nothing was changed")
        try:
            yield owner, durabilities
        finally:
            durabilities.append(self._end_turn(owner))

    def _end_turn(self, owner: str) -> Durability:
        try:
            return self._managed.end_turn(owner) or Durability.UNCONFIRMED
        except StoreUnavailableError:  # then it ends by itself
            return Durability.UNCONFIRMED

    def _unknown(self, plan: Plan) -> set[str]:
        """Return the digests of managed tokens that are not remembered, because an import wrote them."""
        return {*plan.kept} - {*self._managed.digests()}

    def _recollect(self, plan: Plan) -> None:
        """Remember those digests, and forget those without a token."""
        for digest in self._unknown(plan):
            self._managed.note(digest)
        for digest in self._managed.digests():
            if not self._store.get(digest):
                self._managed.forget(digest)

    def _do(self, step: Step) -> Durability:
        match step:
            case Create(wanted=wanted):
                return self._create(wanted, enabled=wanted.enabled is not False)
            case Update(is_moved=True):
                return self._move(step)
            case Update(wanted=wanted, token=token):
                return self._edit(wanted, token)
            case End(token=token):
                return self._end(token)

    def _create(self, wanted: Wanted, *, enabled: bool) -> Durability:
        now = self._now()
        token = Token(
            **fields.values(wanted.terms),
            expires_at=wanted.terms.expires_at,
            digest=wanted.digests[0],
            id=tokens.mint_id(int(now * 1000)),
            created_at=int(now),
            enabled=enabled,
            managed=wanted.key,
        )
        # First: a digest without a token is harmless, but a token without it would never be ended.
        self._managed.note(token.digest)
        return _done(wanted, self._changes.add(ACTOR, token))

    def _move(self, step: Update) -> Durability:
        """Give the token the fields that are declared, then the secret, which thus never opens more."""
        token, wanted, digest = step.token, step.wanted, step.wanted.digests[0]
        self._managed.note(digest)
        edited = [self._edit(wanted, token)] if step.differences else []
        durability = self._changes.rotate(ACTOR, token, digest, 0)
        if durability is None:  # in a Cluster, where the new record belongs to another node
            is_enabled = token.enabled if wanted.enabled is None else wanted.enabled
            return _worst([*edited, self._create(wanted, enabled=is_enabled), self._end(token)])
        self._managed.forget(token.digest)
        return _worst([*edited, durability])

    def _edit(self, wanted: Wanted, token: Token) -> Durability:
        self._managed.note(token.digest)
        terms, enabled = wanted.terms, wanted.enabled
        draft = Draft(terms, Leave.LEAVE if terms.expires_at == token.expires_at else terms.expires_at)
        window_s = terms.rate_limit_window_sec or self._rules.defaults.window_s
        durability = self._changes.edit(ACTOR, token, draft, window_s, enabled=enabled, managed=wanted.key)
        return _done(wanted, durability)

    def _end(self, token: Token) -> Durability:
        durability = self._changes.remove(ACTOR, token)
        self._managed.forget(token.digest)
        return durability or Durability.CONFIRMED  # it had ended already


def _done(wanted: Wanted, durability: Durability | None) -> Durability:
    """Return the durability of a change; raise ConflictError if there was nothing to change."""
    if durability is None:
        raise ConflictError(_CHANGED.format(wanted.key))
    return durability


def _worst(durabilities: Iterable[Durability]) -> Durability:
    return max(durabilities, key=[*Durability].index)
