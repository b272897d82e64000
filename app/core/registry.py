"""What an operator does with tokens, whatever skin asks for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from app.core import fields, search, tokens
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
from app.core.search import Found, Kind, Query
from app.core.token_store import TokenStore
from app.core.tokens import Fault, Token
from app.core.usage import Usage

PAGE_SIZE = 50


@dataclass(frozen=True, slots=True)
class Page:
    """One page of the table: its tokens, newest first, and how many there are on all pages."""

    tokens: tuple[Token, ...]
    number: int
    total: int

    @property
    def count(self) -> int:
        """How many pages there are; an empty table has one."""
        return max(1, -(-self.total // PAGE_SIZE))


@dataclass(frozen=True, slots=True)
class Defaults:
    """What holds for a token that says nothing of its own."""

    ttl_s: int
    window_s: int


class Registry:
    """Issues, lists, changes, rotates and deletes tokens."""

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

    def issue(self, typed: Mapping[str, str], form: str | None = None) -> tuple[Token, str]:
        """Make a token, one at most per *form*; return it and its text, which is kept nowhere.

        Raises InvalidFieldsError and AlreadyIssuedError.
        """
        now = self._now()
        draft = fields.parse_new(typed, self._defaults.ttl_s, int(now))
        text = tokens.mint(self._prefix)
        if form and not self._store.claim_form(form):
            raise AlreadyIssuedError(
                "This form was sent before. If it made a token, that is in the table, and its text is not "
                "shown twice. Send the form again for another token."
            )
        try:
            return self._add(draft, text, now), text
        except UnknownOutcomeError:
            raise
        except StoreUnavailableError:
            if form:
                self._store.free_form(form)
            raise

    def _add(self, draft: Draft, text: str, now: float) -> Token:
        token = Token(
            **fields.values(draft.spec),
            digest=self._peppers.digest(text),
            id=tokens.mint_id(int(now * 1000)),
            created_at=int(now),
            expires_at=None if draft.expires_at is Leave.LEAVE else draft.expires_at,
        )
        self._store.add(token)
        return token

    def edit(self, name: str, typed: Mapping[str, str], *, enabled: bool | None = None) -> Token:
        """Change the fields in *typed* of the token that *name* means, and leave the others as they are.

        *enabled* switches it on or off too. Raises InvalidFieldsError, NoSuchTokenError and ConflictError.
        """
        token = _sound(self.find(name))
        draft = fields.parse_edit(token, typed, self.now_s)
        window_s = draft.spec.rate_limit_window_sec or self._defaults.window_s
        _must(self._store.edit(token, draft.spec, draft.expires_at, window_s, enabled=enabled))
        expires_at = token.expires_at if draft.expires_at is Leave.LEAVE else draft.expires_at
        enabled = token.enabled if enabled is None else enabled
        return dataclasses.replace(
            token, **fields.values(draft.spec), expires_at=expires_at, enabled=enabled, fault=None
        )

    def enable(self, name: str, *, enabled: bool) -> Token:
        """Switch the token that *name* means on or off; raises NoSuchTokenError and ConflictError."""
        token = _sound(self.find(name))
        _must(self._store.enable(token, enabled=enabled))
        return dataclasses.replace(token, enabled=enabled)

    def rotate(self, name: str, grace_seconds: str) -> tuple[Token, str]:
        """Give the token that *name* means a new text; the old one stays valid for the grace period.

        Raises InvalidFieldsError, NoSuchTokenError and ConflictError.
        """
        grace_s, now_s = fields.parse_grace(grace_seconds), self.now_s
        token = _sound(self.find(name))
        if token.fault:
            raise ConflictError("this record can't be read; edit the token before you rotate it")
        if not token.enabled:
            raise ConflictError("this token is disabled; enable it before you rotate it")
        texts = tokens.mint_many(self._prefix)
        text, digest = self._store.choose(token, ((text, self._peppers.digest(text)) for text in texts))
        _must(self._store.rotate(token, digest, now_s + grace_s if grace_s else 0))
        return dataclasses.replace(token, digest=digest), text

    def delete(self, name: str) -> Token:
        """Forget the token that *name* means; raises NoSuchTokenError."""
        token = self.find(name)
        if not self._store.remove(token):
            raise NoSuchTokenError("that token is gone already")
        return token

    def durability(self) -> Durability:
        """Return what is known of every change, before it is made."""
        return self._store.durability()

    def find(self, name: str) -> Token:
        """Return the token that *name* means: its id, its digest or its text.

        Raises NoSuchTokenError and ConflictError.
        """
        return self._first(self._digests(name), "no token has that id, SHA-256 or text; it may have expired")

    def find_public(self, name: str) -> Token:
        """Return the token whose id or digest *name* is, for names that others may read: it is never a text.

        Raises NoSuchTokenError and ConflictError.
        """
        return self._first(
            self._public_digests(name),
            "no token has that id or SHA-256; it may have expired. A token itself belongs in no address and "
            "no argument: send it in a form, or to the standard input of flask --app wsgi tokens show -",
        )

    def usage(self, token: Token) -> Usage:
        """Return how often *token* was used."""
        return self._store.usage(token, self.now_s)

    def page(self, number: int) -> Page:
        """Return page *number* of all tokens, the last one if there are not so many."""
        found, total = self._store.page(number, PAGE_SIZE)
        page = Page(tuple(found), number, total)
        return page if number <= page.count else self.page(page.count)

    def newest(self, start: str | None = None, size: int = PAGE_SIZE) -> Found:
        """Return the newest tokens, from *start* on."""
        return self._store.search(Query(Kind.ID, ""), start, size)

    def search(self, typed: str, start: str | None = None, size: int = PAGE_SIZE) -> Found:
        """Return the tokens that *typed* means, from *start* on, as far as one look gets.

        Raises InvalidQueryError.
        """
        query = search.understand(typed, self._prefix)
        if query.kind is Kind.DIGEST:
            token = self._store.get(query.text)
            return Found(query, (token,) if token else (), 1, 1)
        return self._store.search(query, start if start and search.is_start(start) else None, size)

    def opening(self, host: str) -> Iterator[Token]:
        """Yield every token that opens *host*, or lists that pattern, newest first.

        Raises InvalidQueryError.
        """
        query, start = search.by_host(host), None
        self._store.adopt_all()
        while True:
            found = self._store.search(query, start, PAGE_SIZE)
            yield from found.tokens
            if not (start := found.more):
                return

    def all(self) -> Iterator[Token]:
        """Yield every token, newest first, those included that others have just written."""
        self._store.adopt_all()
        first = self.page(1)
        yield from first.tokens
        for number in range(2, first.count + 1):
            yield from self.page(number).tokens

    def count_old_peppers(self) -> int:
        """Return how many tokens have not met the current pepper yet; 0 if there is no previous one."""
        return self._store.count_old_peppers() if self._peppers.previous else 0

    def forget_peppers(self) -> None:
        """Let the next pepper that comes be taken for the right one; the tokens of others are lost then."""
        self._store.forget_peppers()

    def _first(self, digests: Iterable[str], otherwise: str) -> Token:
        for digest in digests:
            if token := self._store.get(digest):
                return token
        raise NoSuchTokenError(otherwise)

    def _public_digests(self, name: str) -> Iterator[str]:
        if tokens.DIGEST.fullmatch(name):
            yield name
        if tokens.TOKEN_ID.fullmatch(name):
            yield from _only(name, self._store.digests_of(name))

    def _digests(self, name: str) -> Iterator[str]:
        yield from self._public_digests(name)
        if tokens.CREDENTIAL.fullmatch(name):
            yield from self._peppers.digests(name)


def _only(token_id: str, digests: Sequence[str]) -> Sequence[str]:
    """Return the one of *digests*, or none; raises ConflictError rather than guess which is meant."""
    if len(digests) > 1:
        raise ConflictError(
            f"several records in Redis go by the id {token_id}; "
            f"name the one that you mean by its SHA-256: {', '.join(digests)}"
        )
    return digests


def _sound(token: Token) -> Token:
    """Return *token* if it can be changed; raises ConflictError."""
    if token.fault is Fault.KEY:
        raise ConflictError("this record can't be read, so that it can only be deleted; nothing was changed")
    return token


def _must(changed: bool) -> None:  # noqa: FBT001 - it is the one thing asked
    if not changed:
        raise ConflictError("this token was deleted or rotated meanwhile; nothing was changed")
