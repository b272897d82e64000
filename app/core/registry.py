"""What an operator does with tokens, whatever skin asks for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from app.core import fields, tokens
from app.core.peppers import Peppers
from app.core.tokens import Token, TokenSpec
from app.core.usage import Usage

PAGE_SIZE = 50


class StoreUnavailableError(Exception):
    """Redis did not answer in time, or refused; what was asked for is not known to be done."""


class NoSuchTokenError(LookupError):
    """No token has that id, digest or text."""


class AlreadyIssuedError(Exception):
    """That form made a token before, whose text can't be shown again."""


class ConflictError(Exception):
    """The token is not in the state that the change needs; nothing was changed."""


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


class TokenStore(Protocol):
    """Keeps tokens; each method raises StoreUnavailableError when it can't."""

    def claim_form(self, nonce: str) -> bool:
        """Tell whether the form with that nonce comes for the first time."""
        ...

    def add(self, token: Token, ttl_s: int) -> None:
        """Keep a new token for *ttl_s* seconds, 0 for ever, or not at all."""
        ...

    def get(self, digest: str) -> Token | None:
        """Return the token kept under *digest*, or where that moved."""
        ...

    def digest_of(self, token_id: str) -> str | None:
        """Return the digest of the token with that public id."""
        ...

    def edit(self, token: Token, spec: TokenSpec, ttl_s: int | None, window_s: int) -> bool:
        """Make *token* what *spec* says; a *ttl_s* of None leaves its life. False if it is gone or moved."""
        ...

    def enable(self, token: Token, *, enabled: bool) -> bool:
        """Switch *token* on or off; False if it is gone or moved."""
        ...

    def choose(self, token: Token, candidates: Iterable[tuple[str, str]]) -> tuple[str, str]:
        """Return the first of *candidates*, texts with their digests, that *token* can be rotated to."""
        ...

    def rotate(self, token: Token, digest: str, grace_s: int) -> bool:
        """Give *token* another digest, to which the old leads for *grace_s*; False if it is gone or moved."""
        ...

    def remove(self, token: Token) -> bool:
        """Forget *token* and all that belongs to it; False if it was gone already."""
        ...

    def usage(self, token: Token, now_s: int) -> Usage:
        """Return how often *token* was used."""
        ...

    def page(self, number: int, size: int) -> tuple[Sequence[Token], int]:
        """Return the tokens of page *number*, newest first, and the count of all."""
        ...

    def adopt_all(self) -> None:
        """Find every token that others wrote, however many there are."""
        ...

    def count_old_peppers(self) -> int:
        """Return how many tokens have not met the current pepper yet."""
        ...

    def forget_peppers(self) -> None:
        """Let the next pepper that comes be taken for the right one."""
        ...


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
        draft = fields.parse_new(typed, self._defaults.ttl_s, self.now_s)
        if form and not self._store.claim_form(form):
            raise AlreadyIssuedError(
                "This form was sent before and its token exists; its text is not shown twice. "
                "Send it again for another token."
            )
        text, now = tokens.mint(self._prefix), self._now()
        ttl_s = draft.ttl_s or 0
        token = Token(
            **{field.name: getattr(draft.spec, field.name) for field in dataclasses.fields(TokenSpec)},
            digest=self._peppers.digest(text),
            id=tokens.mint_id(int(now * 1000)),
            created_at=int(now),
            expires_at=int(now) + ttl_s if ttl_s else None,
        )
        self._store.add(token, ttl_s)
        return token, text

    def edit(self, name: str, typed: Mapping[str, str]) -> Token:
        """Change the fields in *typed* of the token that *name* means, and leave the others as they are.

        Raises InvalidFieldsError, NoSuchTokenError and ConflictError.
        """
        token = self.find(name)
        draft = fields.parse_edit(token, typed, self.now_s)
        window_s = draft.spec.rate_limit_window_s or self._defaults.window_s
        _must(self._store.edit(token, draft.spec, draft.ttl_s, window_s))
        return self.find(token.id)

    def enable(self, name: str, *, enabled: bool) -> Token:
        """Switch the token that *name* means on or off; raises NoSuchTokenError and ConflictError."""
        token = self.find(name)
        _must(self._store.enable(token, enabled=enabled))
        return dataclasses.replace(token, enabled=enabled)

    def rotate(self, name: str, grace_seconds: str) -> tuple[Token, str]:
        """Give the token that *name* means a new text; the old one stays valid for the grace period.

        Raises InvalidFieldsError, NoSuchTokenError and ConflictError.
        """
        grace_s = fields.parse_grace(grace_seconds)
        token = self.find(name)
        if not token.enabled:
            raise ConflictError("this token is disabled; enable it before you rotate it")
        texts = tokens.mint_many(self._prefix)
        text, digest = self._store.choose(token, ((text, self._peppers.digest(text)) for text in texts))
        _must(self._store.rotate(token, digest, grace_s))
        return dataclasses.replace(token, digest=digest), text

    def delete(self, name: str) -> Token:
        """Forget the token that *name* means; raises NoSuchTokenError."""
        token = self.find(name)
        if not self._store.remove(token):
            raise NoSuchTokenError("that token is gone already")
        return token

    def find(self, name: str) -> Token:
        """Return the token that *name* means: its id, its digest or its text.

        Raises NoSuchTokenError.
        """
        for digest in self._digests(name):
            if token := self._store.get(digest):
                return token
        raise NoSuchTokenError("no token has that id, SHA-256 or text; it may have expired")

    def usage(self, token: Token) -> Usage:
        """Return how often *token* was used."""
        return self._store.usage(token, self.now_s)

    def page(self, number: int) -> Page:
        """Return page *number* of all tokens, the last one if there are not so many."""
        found, total = self._store.page(number, PAGE_SIZE)
        page = Page(tuple(found), number, total)
        return page if number <= page.count else self.page(page.count)

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

    def _digests(self, name: str) -> Iterator[str]:
        if tokens.DIGEST.fullmatch(name):
            yield name
        if tokens.TOKEN_ID.fullmatch(name) and (digest := self._store.digest_of(name)):
            yield digest
        if tokens.CREDENTIAL.fullmatch(name):
            yield from self._peppers.digests(name)


def _must(changed: bool) -> None:  # noqa: FBT001 - it is the one thing asked
    if not changed:
        raise ConflictError("this token was deleted or rotated meanwhile; nothing was changed")
