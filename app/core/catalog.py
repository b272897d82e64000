"""Find, list and search tokens (docs/decisions/0011 and 0025)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from app.core import ended, listing, search, tokens
from app.core.ended import EndedToken, Ending, FoundEnded
from app.core.errors import ConflictError, NoSuchTokenError
from app.core.held import Held
from app.core.limits import Limit
from app.core.listing import Counts, Filter, Order
from app.core.peppers import Peppers
from app.core.search import Found, Query
from app.core.token_store import TokenStore
from app.core.tokens import Token
from app.core.usage import Usage

PAGE_SIZE = 50
_MANY = 250


@dataclass(frozen=True, slots=True)
class Page:
    """One page of the table: its tokens, newest first, and how many there are on all pages."""

    tokens: tuple[Token, ...]
    number: int
    total: int

    @property
    def count(self) -> int:
        """Return the number of pages; an empty table has one."""
        return max(1, -(-self.total // PAGE_SIZE))


class Catalog:
    """Finds, lists and searches tokens, and changes none of them.

    Each method raises StoreUnavailableError when the store can't answer.
    """

    def __init__(self, store: TokenStore, peppers: Peppers, prefix: str) -> None:
        self._store = store
        self._peppers = peppers
        self._prefix = prefix

    def find(self, name: str) -> Token:
        """Return the token that has *name* as its id, digest or secret.

        Raises NoSuchTokenError, and ConflictError if several tokens have that id.
        """
        if token := self._by_public_name(name) or self._by_secret(name):
            return token
        raise self._missing(
            name, self._digests(name), "no token has that id, SHA-256 or secret; it may have expired"
        )

    def find_public(self, name: str) -> Token:
        """Return the token that has *name* as its id or digest; a secret in a URL or argument could leak.

        Raises NoSuchTokenError, and ConflictError if several tokens have that id.
        """
        if token := self._by_public_name(name):
            return token
        raise self._missing(
            name,
            (),
            "no token has that id or SHA-256; it may have expired. A token itself belongs in no address and "
            "no argument: send it in a form, or to the standard input of flask --app wsgi tokens show -",
        )

    def held_by(self, secret: str) -> Held | None:
        """Return the token that *secret* opens, following a rotation, None if there is none."""
        digests = self._peppers.digests(secret)
        token = next(filter(None, map(self._store.get, digests)), None)
        return Held(token, digests) if token else None

    def usage(self, token: Token, now_s: int) -> Usage:
        """Return the usage of *token* up to *now_s*, in seconds since the epoch."""
        return self._store.usage(token, now_s)

    def admitted(self, token: Token, limit: Limit) -> int:
        """Return how many requests *limit*, the rate limit of *token*, counts now."""
        return self._store.admitted(token, limit)

    def stored(self, token_ids: Collection[str]) -> set[str]:
        """Return which of *token_ids*, of at most some hundred tokens, are not of tokens that have ended."""
        return self._store.stored([name for name in token_ids if tokens.TOKEN_ID.fullmatch(name)])

    def usages(self, tokens: Sequence[Token], now_s: int) -> Sequence[Usage]:
        """Return the usage of each of *tokens* up to *now_s*, without its days, in one round trip."""
        return self._store.usages(tokens, now_s) if tokens else ()

    def page(self, number: int) -> Page:
        """Return page *number* of all tokens, or the last page if there are fewer."""
        found, total = self._store.page(number, PAGE_SIZE)
        page = Page(tuple(found), number, total)
        return page if number <= page.count else self.page(page.count)

    def listed(
        self,
        wanted: Filter = listing.ALL,
        order: Order = listing.NEWEST_FIRST,
        start: str | None = None,
        size: int = PAGE_SIZE,
    ) -> Found:
        """Return tokens that are as *wanted*, from the cursor *start* on, as far as one call gets.

        Raises InvalidFieldsError, or ClashingFieldsError for a cursor of another list.
        """
        return self._store.listed(wanted, order, wanted.position(order, start) if start else None, size)

    def all_listed(
        self, wanted: Filter = listing.ALL, order: Order = listing.NEWEST_FIRST
    ) -> Iterator[Token]:
        """Yield every token that is as *wanted*, including those that other programs have just written."""
        for found in self.all_pages(wanted, order):
            yield from found.tokens

    def all_pages(self, wanted: Filter = listing.ALL, order: Order = listing.NEWEST_FIRST) -> Iterator[Found]:
        """Yield the pages of all tokens that are as *wanted*, and how far the search got."""
        self._store.adopt_all()
        if order.sort is not listing.Sort.CREATED_AT:
            self._store.take_census()
        found = self.listed(wanted, order, size=_MANY)
        yield found
        while found.more:
            found = self.listed(wanted, order, found.more, _MANY)
            yield found

    def counts(self) -> Counts | None:
        """Return how many tokens have each status, as of the last census; None before the first one."""
        return self._store.counts()

    def ended(self, typed: str = "", start: str | None = None, size: int = PAGE_SIZE) -> FoundEnded:
        """Return the tokens that ended last, or those that match *typed*, from the cursor *start* on.

        Raises InvalidQueryError.
        """
        query = search.understand(typed, self._prefix) if typed else None
        return self._store.ended(query, start if start and ended.CURSOR.fullmatch(start) else None, size)

    def all_ended(self, query: Query | None = None) -> Iterator[EndedToken]:
        """Yield every token that ended, or those that match *query*, the last to end first."""
        start = None
        self._store.collect_ended()
        while True:
            found = self._store.ended(query, start, PAGE_SIZE)
            yield from found.tokens
            if not (start := found.more):
                return

    def count_old_peppers(self) -> int:
        """Return how many tokens do not have the current pepper yet; 0 if there is no previous one."""
        return self._store.count_old_peppers() if self._peppers.previous else 0

    def id_of(self, digest: str) -> str:
        """Return the id of the token under *digest*, also if it has ended; raise NoSuchTokenError."""
        token = self._store.get(digest)
        if found := token or next(iter(self._store.ended_under([digest])), None):
            return found.id
        raise NoSuchTokenError("no token has that SHA-256")

    def _by_public_name(self, name: str) -> Token | None:
        if tokens.DIGEST.fullmatch(name):
            return self._store.get(name)
        if tokens.TOKEN_ID.fullmatch(name):
            return _only(name, self._store.with_id(name))
        return None

    def _by_secret(self, secret: str) -> Token | None:
        held = self.held_by(secret) if tokens.CREDENTIAL.fullmatch(secret) else None
        return held.token if held else None

    def _digests(self, secret: str) -> tuple[str, ...]:
        return self._peppers.digests(secret) if tokens.CREDENTIAL.fullmatch(secret) else ()

    def _missing(self, name: str, digests: Sequence[str], otherwise: str) -> NoSuchTokenError:
        """Return the error for *name*, which no token has, neither as its id nor as one of its digests.

        It says how the one that had it, or one of *digests*, ended, or *otherwise*.
        """
        found = self._store.ended_with(name) if tokens.TOKEN_ID.fullmatch(name) else []
        public = [name] if tokens.DIGEST.fullmatch(name) else []
        found = [*found, *self._store.ended_under([*public, *digests])]
        last = max(found, key=_weight, default=None)
        return NoSuchTokenError(str(last), last.digest) if last else NoSuchTokenError(otherwise)


def _weight(token: EndedToken) -> tuple[bool, int]:
    """Return a key that sorts the end of a token after those of its replaced secrets."""
    return token.ending is not Ending.REPLACED, token.ended_at


def _only(token_id: str, found: Sequence[Token]) -> Token | None:
    """Return the one token *found*, or None; raise ConflictError rather than guess which one is meant."""
    if len(found) > 1:
        raise ConflictError(
            f"several records in Redis go by the id {token_id}; "
            f"name the one that you mean by its SHA-256: {', '.join(token.digest for token in found)}"
        )
    return next(iter(found), None)
