"""Issue, edit, disable, rotate and delete tokens."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping

from app.core import fields, tokens
from app.core.audit import Actor
from app.core.changes import Change, Issued
from app.core.declared import refuse_managed
from app.core.defaults import Defaults
from app.core.durability import Durability
from app.core.errors import (
    ConflictError,
    NoSuchTokenError,
    PreconditionFailedError,
)
from app.core.fields import ClashingFieldsError, Draft, InvalidFieldsError, Leave
from app.core.held import Held
from app.core.idempotency import Once, Request
from app.core.peppers import Peppers
from app.core.token_store import TokenChanges, TokenStore
from app.core.tokens import Fault, Token

_TAKEN = {"secret": "a token with this secret exists already; nothing was changed"}
_MOVED = (
    "this secret is the token's under another PEPPER that this replica does not know; nothing was changed. "
    "Send the request again once every replica has that PEPPER, or have the operator delete the token."
)


class Registry:
    """Changes tokens; reads the clock once per change.

    Each change takes its actor, and a token from the catalog. It raises StoreUnavailableError if the change
    was not made, and UnknownOutcomeError if it may have been made.
    """

    def __init__(
        self,
        store: TokenStore,
        changes: TokenChanges,
        peppers: Peppers,
        defaults: Defaults,
        now: Callable[[], float],
    ) -> None:
        self._store = store
        self._changes = changes
        self._once = Once(changes.claims, peppers)
        self._peppers = peppers
        self._defaults = defaults
        self._now = now

    @property
    def strict(self) -> Registry:
        """Return a registry that raises PreconditionFailedError unless a token is stored as it was read."""
        return Registry(self._store, self._changes.strict(), self._peppers, self._defaults, self._now)

    @property
    def now_s(self) -> int:
        """Return the current time, in seconds since the epoch."""
        return int(self._now())

    def issue(
        self,
        actor: Actor,
        typed: Mapping[str, str],
        idempotency_key: str | None = None,
        *,
        secret: str | None = None,
        allow_weak: bool = False,
    ) -> Issued:
        """Issue a token with a new secret, or with an existing one, at most one per *idempotency_key*.

        An existing *secret* may be short if *allow_weak*. Raises InvalidFieldsError and AlreadyIssuedError.
        """
        request = idempotency_key and self._once.creation(idempotency_key, typed, secret, allow_weak)
        now = self._now()
        defaults = self._defaults
        draft = fields.parse_new(typed, defaults.ttl_s, int(now), defaults.max_ttl_s, defaults.unset)
        secret = (
            tokens.mint(self._defaults.prefix)
            if secret is None
            else self._usable(secret, allow_weak=allow_weak)
        )
        token = self._new(draft, secret, now)
        if durability := self._add(actor, token, request or None):
            return Issued(token, int(now), durability, secret)
        raise ClashingFieldsError(_TAKEN)

    def _add(self, actor: Actor, token: Token, request: Request | None) -> Durability | None:
        if request is None:
            return self._changes.add(actor, token)
        self._once.claim(request, token)
        try:
            return self._changes.add(actor, token, with_voucher=True)
        except PreconditionFailedError:
            raise self._once.overtaken(request) from None

    def edit(
        self, actor: Actor, token: Token, typed: Mapping[str, str], *, enabled: bool | None = None
    ) -> Change:
        """Change the fields of *token* that *typed* names, and enable or disable it unless *enabled* is None.

        Raises InvalidFieldsError and ConflictError.
        """
        now_s = self.now_s
        self.refuse_edit(token)
        draft = fields.parse_edit(token, typed, now_s, self._defaults.max_ttl_s, self._defaults.unset)
        window_s = draft.spec.rate_limit_window_sec or self._defaults.window_s
        durability = self._changes.edit(actor, token, draft, window_s, enabled=enabled)
        return Change(_edited(token, draft, enabled=enabled), now_s, _done(durability))

    def refuse_edit(self, token: Token) -> None:
        """Raise ConflictError if *token* can't be edited, whatever the fields."""
        refuse_managed(token, self._defaults.declared)
        _refuse_unreadable(token)

    def enable(self, actor: Actor, token: Token, *, enabled: bool, force: bool = False) -> Change:
        """Enable or disable *token*, even one that a file manages if *force*; raise ConflictError."""
        if not force:
            refuse_managed(token, self._defaults.declared)
        _refuse_unreadable(token)
        durability = _done(self._changes.enable(actor, token, enabled=enabled))
        return Change(dataclasses.replace(token, enabled=enabled), self.now_s, durability)

    def rotate(
        self, actor: Actor, token: Token, grace_seconds: str, idempotency_key: str | None = None
    ) -> Issued:
        """Give *token* a new secret, once per *idempotency_key*; the old one is valid for *grace_seconds*.

        Raises InvalidFieldsError, ConflictError and AlreadyIssuedError.
        """
        grace_s, now_s = fields.parse_grace(grace_seconds), self.now_s
        refuse_managed(token, self._defaults.declared)
        if idempotency_key:
            self._once.rotation(idempotency_key, token, grace_s)
        _refuse_rotation(token)
        secret, digest = self._changes.choose(token, self._candidates())
        ends_at = now_s + grace_s if grace_s else 0
        durability = self._changes.rotate(actor, token, digest, ends_at)
        return Issued(dataclasses.replace(token, digest=digest), now_s, _done(durability), secret)

    def delete(self, actor: Actor, token: Token) -> Change:
        """Delete *token*; raise ConflictError, or NoSuchTokenError if it has been deleted already."""
        refuse_managed(token, self._defaults.declared)
        if durability := self._changes.remove(actor, token):
            return Change(token, self.now_s, durability)
        raise NoSuchTokenError("that token was deleted or rotated in the meantime; nothing was changed")

    def retire(self, actor: Actor, held: Held) -> Change:
        """End a replaced secret before its grace period does; the token and its new secret stay valid.

        Raises NoSuchTokenError if the grace period has ended, and ConflictError if no rotation replaced it.
        """
        done = [*filter(None, (self._changes.retire(actor, held.token, digest) for digest in held.digests))]
        if done:
            return Change(held.token, self.now_s, done[0])
        found = filter(None, map(self._store.get, held.digests))
        if any(held._replace(token=token).is_replaced for token in found):
            raise ConflictError(_MOVED)
        raise NoSuchTokenError("that secret has already ended")

    def durability(self) -> Durability:
        """Return what is known in advance about the durability of every change."""
        return self._changes.durability()

    def forget_peppers(self) -> None:
        """Accept whichever pepper comes next as the right one; the tokens of any other pepper are lost."""
        self._changes.forget_peppers()

    def _usable(self, secret: str, *, allow_weak: bool) -> str:
        """Return *secret*; raise InvalidFieldsError if no token can have it, or if one has it already."""
        try:
            tokens.refuse_unusable(secret, self._defaults.prefix, allow_weak=allow_weak)
        except ValueError as error:
            raise InvalidFieldsError({"secret": str(error)}) from None
        if any(map(self._store.get, self._peppers.digests(secret))):
            raise ClashingFieldsError(_TAKEN)
        return secret

    def _new(self, draft: Draft, secret: str, now: float) -> Token:
        token_id = tokens.mint_id(int(now * 1000))
        return tokens.drafted(draft, self._peppers.digest(secret), token_id, int(now))

    def _candidates(self) -> Iterator[tuple[str, str]]:
        """Yield new secrets with their digests."""
        return ((secret, self._peppers.digest(secret)) for secret in tokens.mint_many(self._defaults.prefix))


def _edited(token: Token, draft: Draft, *, enabled: bool | None) -> Token:
    return dataclasses.replace(
        token,
        **fields.values(draft.spec),
        expires_at=token.expires_at if draft.expires_at is Leave.LEAVE else draft.expires_at,
        enabled=token.enabled if enabled is None else enabled,
        fault=None,
    )


def _refuse_unreadable(token: Token) -> None:
    if token.fault is Fault.KEY:
        raise ConflictError("this record can't be read and can only be deleted; nothing was changed")


def _refuse_rotation(token: Token) -> None:
    _refuse_unreadable(token)
    if token.fault:
        raise ConflictError("this record can't be read; edit the token before you rotate it")
    if not token.enabled:
        raise ConflictError("this token is disabled; enable it before you rotate it")


def _done(durability: Durability | None) -> Durability:
    """Return the durability of a change; raise ConflictError if there was no token to change."""
    if durability is None:
        raise ConflictError("this token was deleted or rotated in the meantime; nothing was changed")
    return durability
