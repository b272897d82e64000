"""How an operator issues, edits, disables, rotates and deletes tokens."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from app.core import fields, tokens
from app.core.changes import Change, Issued
from app.core.durability import Durability
from app.core.errors import (
    AlreadyIssuedError,
    ConflictError,
    NoSuchTokenError,
    StoreUnavailableError,
    UnknownOutcomeError,
)
from app.core.fields import Draft, Leave
from app.core.peppers import Peppers
from app.core.token_store import TokenStore
from app.core.tokens import Fault, Token


@dataclass(frozen=True, slots=True)
class Defaults:
    """What applies to a token that sets nothing of its own, and the names of settings without a value."""

    ttl_s: int
    window_s: int
    unset: frozenset[str] = frozenset()


class Registry:
    """Changes tokens; reads the clock once per change.

    Each change takes a token as the catalog found it, and raises StoreUnavailableError when the store did not
    make it, UnknownOutcomeError when it may have.
    """

    def __init__(
        self,
        store: TokenStore,
        peppers: Peppers,
        prefix: str,
        defaults: Defaults,
        now: Callable[[], float],
    ) -> None:
        self._store = store
        self._peppers = peppers
        self._prefix = prefix
        self._defaults = defaults
        self._now = now

    @property
    def now_s(self) -> int:
        """The current time, seconds since the epoch."""
        return int(self._now())

    def issue(self, typed: Mapping[str, str], idempotency_key: str | None = None) -> Issued:
        """Issue a token with a new secret, at most one per *idempotency_key*.

        Raises InvalidFieldsError and AlreadyIssuedError.
        """
        now = self._now()
        draft = fields.parse_new(typed, self._defaults.ttl_s, int(now), self._defaults.unset)
        secret = tokens.mint(self._prefix)
        token = self._new(draft, secret, now)
        with self._claimed(idempotency_key):
            return Issued(token, int(now), self._store.add(token), secret)

    def edit(self, token: Token, typed: Mapping[str, str], *, enabled: bool | None = None) -> Change:
        """Change the fields of *token* that *typed* names, and enable or disable it unless *enabled* is None.

        Raises InvalidFieldsError and ConflictError.
        """
        now_s = self.now_s
        _refuse_unreadable(token)
        draft = fields.parse_edit(token, typed, now_s, self._defaults.unset)
        window_s = draft.spec.rate_limit_window_sec or self._defaults.window_s
        durability = self._store.edit(token, draft.spec, draft.expires_at, window_s, enabled=enabled)
        return Change(_edited(token, draft, enabled=enabled), now_s, _done(durability))

    def enable(self, token: Token, *, enabled: bool) -> Change:
        """Enable or disable *token*; raise ConflictError if that is impossible."""
        _refuse_unreadable(token)
        durability = _done(self._store.enable(token, enabled=enabled))
        return Change(dataclasses.replace(token, enabled=enabled), self.now_s, durability)

    def rotate(self, token: Token, grace_seconds: str) -> Issued:
        """Give *token* a new secret; the old one stays valid for *grace_seconds*, as typed.

        Raises InvalidFieldsError and ConflictError.
        """
        grace_s, now_s = fields.parse_grace(grace_seconds), self.now_s
        _refuse_rotation(token)
        secret, digest = self._store.choose(token, self._candidates())
        durability = self._store.rotate(token, digest, now_s + grace_s if grace_s else 0)
        return Issued(dataclasses.replace(token, digest=digest), now_s, _done(durability), secret)

    def delete(self, token: Token) -> Change:
        """Delete *token*; raise NoSuchTokenError if it has been deleted already."""
        if durability := self._store.remove(token):
            return Change(token, self.now_s, durability)
        raise NoSuchTokenError("that token is gone already")

    def durability(self) -> Durability:
        """Return what is known of the durability of every change, before it is made."""
        return self._store.durability()

    def forget_peppers(self) -> None:
        """Accept whichever pepper comes next as the right one; the tokens of any other pepper are lost."""
        self._store.forget_peppers()

    def _new(self, draft: Draft, secret: str, now: float) -> Token:
        return Token(
            **fields.values(draft.spec),
            digest=self._peppers.digest(secret),
            id=tokens.mint_id(int(now * 1000)),
            created_at=int(now),
            expires_at=None if draft.expires_at is Leave.LEAVE else draft.expires_at,
        )

    @contextmanager
    def _claimed(self, idempotency_key: str | None) -> Iterator[None]:
        """Claim the key for the block, and release it if the store certainly did nothing."""
        if idempotency_key and not self._store.claim(idempotency_key):
            raise AlreadyIssuedError(
                "This form was sent before. If it made a token, that is in the table, and its secret is not "
                "shown twice. Send the form again for another token."
            )
        try:
            yield
        except UnknownOutcomeError:
            raise
        except StoreUnavailableError:
            if idempotency_key:
                self._store.release(idempotency_key)
            raise

    def _candidates(self) -> Iterator[tuple[str, str]]:
        """Yield new secrets with their digests."""
        return ((secret, self._peppers.digest(secret)) for secret in tokens.mint_many(self._prefix))


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
        raise ConflictError("this record can't be read, so that it can only be deleted; nothing was changed")


def _refuse_rotation(token: Token) -> None:
    _refuse_unreadable(token)
    if token.fault:
        raise ConflictError("this record can't be read; edit the token before you rotate it")
    if not token.enabled:
        raise ConflictError("this token is disabled; enable it before you rotate it")


def _done(durability: Durability | None) -> Durability:
    """Return the durability of a change; raise ConflictError if there was no token to change."""
    if durability is None:
        raise ConflictError("this token was deleted or rotated meanwhile; nothing was changed")
    return durability
