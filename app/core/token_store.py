"""The interfaces that the catalog and the registry require of a token store."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Protocol

from app.core.audit import Actor
from app.core.durability import Durability
from app.core.ended import EndedToken, FoundEnded
from app.core.fields import Draft
from app.core.idempotency import Claims
from app.core.limits import Limit
from app.core.listing import Counts, Filter, Order, Position
from app.core.search import Found, Query
from app.core.tokens import Token
from app.core.totals import Totals, Use
from app.core.usage import Usage


class TokenStore(Protocol):
    """Finds tokens; each method raises StoreUnavailableError when it can't."""

    def get(self, digest: str) -> Token | None:
        """Return the token stored under *digest*, or under the digest that it was rotated to."""
        ...

    def with_id(self, token_id: str) -> Sequence[Token]:
        """Return the token with that public id; several if other programs wrote it more than once."""
        ...

    def usage(self, token: Token, now_s: int) -> Usage:
        """Return the usage of *token* up to *now_s*, in seconds since the epoch."""
        ...

    def admitted(self, token: Token, limit: Limit) -> int:
        """Return how many requests *limit*, the rate limit of *token*, counts now."""
        ...

    def stored(self, token_ids: Collection[str]) -> set[str]:
        """Return which of *token_ids* are ids of stored tokens."""
        ...

    def usages(self, tokens: Sequence[Token], now_s: int) -> Sequence[Usage]:
        """Return the usage of each of *tokens* up to *now_s*, without its days."""
        ...

    def page(self, number: int, size: int) -> tuple[Sequence[Token], int]:
        """Return the tokens of page *number*, newest first, and the count of all tokens."""
        ...

    def listed(self, wanted: Filter, order: Order, start: Position | None, size: int) -> Found:
        """Return at most *size* tokens that are as *wanted*, from *start* on; it may stop early."""
        ...

    def take_census(self) -> None:
        """Read every token, however many there are, so that all are listed in the right order."""
        ...

    def counts(self) -> Counts | None:
        """Return how many tokens have each status, as of the last census; None before the first one."""
        ...

    def totals(self) -> Totals | None:
        """Return what all tokens add up to, as of the last census; None before the first one."""
        ...

    def users(self, uses: Sequence[Use]) -> Sequence[Token]:
        """Return the tokens of *uses* that are still stored under the same digest."""
        ...

    def ended(self, query: Query | None, start: str | None, size: int) -> FoundEnded:
        """Return the tokens that ended last, or those that match *query*, from the cursor *start* on."""
        ...

    def ended_with(self, token_id: str) -> Sequence[EndedToken]:
        """Return the ends of the token with that id: its own, and those of secrets that were replaced."""
        ...

    def ended_under(self, digests: Sequence[str]) -> Sequence[EndedToken]:
        """Return the tokens that ended under *digests*, and are not stored under them again."""
        ...

    def collect_ended(self) -> None:
        """Make sure that ``ended`` lists every token that has expired, however many there are."""
        ...

    def adopt_all(self) -> None:
        """Index every token that other programs wrote, however many there are."""
        ...

    def count_old_peppers(self) -> int:
        """Return how many tokens have not been used with the current pepper since PEPPER_PREVIOUS was set."""
        ...


class TokenChanges(Protocol):
    """Changes tokens, each change together with an audit entry that names its actor.

    Each method raises StoreUnavailableError when it can't. One that changes a token returns the durability of
    the change, or None if the token has been deleted or rotated in the meantime; it raises
    UnknownOutcomeError when it can't know whether it made the change.
    """

    claims: Claims

    def strict(self) -> TokenChanges:
        """Return the same with a condition on every change of a token: that it is stored as it was read.

        If it is not, each method raises PreconditionFailedError.
        """
        ...

    def claim(self, name: str) -> bool:
        """Record *name* as used for an hour; return False if it already was."""
        ...

    def release(self, name: str) -> None:
        """Release *name* for another use, if the store can be reached."""
        ...

    def add(self, actor: Actor, token: Token, *, with_voucher: bool = False) -> Durability | None:
        """Store a new token together with its expiry, or nothing; return None if its digest is taken.

        *with_voucher* uses up its voucher; raises PreconditionFailedError if there is none.
        """
        ...

    def edit(  # noqa: PLR0913 - one script writes all of them
        self,
        actor: Actor,
        token: Token,
        draft: Draft,
        window_s: int,
        *,
        enabled: bool | None = None,
        managed: str | None = None,
    ) -> Durability | None:
        """Give *token* the fields and the expiry of *draft*, and *enabled* and *managed* unless None."""
        ...

    def enable(self, actor: Actor, token: Token, *, enabled: bool) -> Durability | None:
        """Enable or disable *token*."""
        ...

    def choose(self, token: Token, candidates: Iterable[tuple[str, str]]) -> tuple[str, str]:
        """Return the first of *candidates*, secrets with their digests, that *token* can be rotated to."""
        ...

    def rotate(self, actor: Actor, token: Token, digest: str, grace_ends_at: int) -> Durability | None:
        """Move *token* to *digest*; the old digest leads there until *grace_ends_at*, 0 for not at all."""
        ...

    def retire(self, actor: Actor, token: Token, digest: str) -> Durability | None:
        """Delete the redirect to *token* that a rotation left under *digest*, or nothing if there is none."""
        ...

    def remove(self, actor: Actor, token: Token) -> Durability | None:
        """Delete *token* and everything that belongs to it."""
        ...

    def durability(self) -> Durability:
        """Return what is known in advance about every change: UNTOLD and NO_FILE apply to all."""
        ...

    def forget_peppers(self) -> None:
        """Accept whichever pepper comes next as the right one."""
        ...
