"""What an operator does with tokens, whatever skin asks for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from app.core import tokens
from app.core.peppers import Pepper
from app.core.tokens import Token, TokenSpec

PAGE_SIZE = 50


class StoreUnavailableError(Exception):
    """Redis did not answer in time, or refused; what was asked for is not known to be done."""


class NoSuchTokenError(LookupError):
    """No token has that id, digest or text."""


class AlreadyIssuedError(Exception):
    """That form made a token before, whose text can't be shown again."""


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


class TokenStore(Protocol):
    """Keeps tokens; each method raises StoreUnavailableError when it can't."""

    def claim_form(self, nonce: str) -> bool:
        """Tell whether the form with that nonce comes for the first time."""
        ...

    def add(self, digest: str, token_id: str, created_at: int, spec: TokenSpec) -> Token:
        """Keep a new token, with its expiry or not at all."""
        ...

    def get(self, digest: str) -> Token | None:
        """Return the token kept under *digest*."""
        ...

    def digest_of(self, token_id: str) -> str | None:
        """Return the digest of the token with that public id."""
        ...

    def remove(self, token: Token) -> bool:
        """Forget *token* and all that belongs to it; False if it was gone already."""
        ...

    def adopt_all(self) -> None:
        """Find every token that others wrote, however many there are."""
        ...

    def page(self, number: int, size: int) -> tuple[Sequence[Token], int]:
        """Return the tokens of page *number*, newest first, and the count of all."""
        ...


class Registry:
    """Issues, lists and deletes tokens."""

    def __init__(self, store: TokenStore, pepper: Pepper, prefix: str, now: Callable[[], float]) -> None:
        self._store = store
        self._pepper = pepper
        self._prefix = prefix
        self._now = now

    def issue(self, spec: TokenSpec, form: str | None = None) -> tuple[Token, str]:
        """Make a token, one at most per *form*; return it and its text, which is kept nowhere.

        Raises AlreadyIssuedError.
        """
        if form and not self._store.claim_form(form):
            raise AlreadyIssuedError(
                "This form was sent before and its token exists; its text is not shown twice. "
                "Send it again for another token."
            )
        text = tokens.mint(self._prefix)
        now = self._now()
        token_id = tokens.mint_id(int(now * 1000))
        return self._store.add(self._pepper.digest(text), token_id, int(now), spec), text

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

    def find(self, name: str) -> Token:
        """Return the token that *name* means: its id, its digest or its text.

        Raises NoSuchTokenError.
        """
        for digest in self._digests(name):
            if token := self._store.get(digest):
                return token
        raise NoSuchTokenError("no token has that id, SHA-256 or text; it may have expired")

    def delete(self, name: str) -> Token:
        """Forget the token that *name* means; raises NoSuchTokenError."""
        token = self.find(name)
        if not self._store.remove(token):
            raise NoSuchTokenError("that token is gone already")
        return token

    def _digests(self, name: str) -> list[str]:
        digests = [name] if tokens.DIGEST.fullmatch(name) else []
        if tokens.TOKEN_ID.fullmatch(name) and (digest := self._store.digest_of(name)):
            digests.append(digest)
        if tokens.CREDENTIAL.fullmatch(name):
            digests.append(self._pepper.digest(name))
        return digests
