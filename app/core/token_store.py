"""What the registry needs of a store of tokens."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from app.core.durability import Durability
from app.core.fields import Leave, TokenSpec
from app.core.search import Found, Query
from app.core.tokens import Token
from app.core.usage import Usage


class TokenStore(Protocol):
    """Keeps tokens; each method raises StoreUnavailableError when it can't.

    Those that change a token raise UnknownOutcomeError when it is not known whether they did.
    """

    def claim_form(self, nonce: str) -> bool:
        """Tell whether the form with that nonce comes for the first time."""
        ...

    def free_form(self, nonce: str) -> None:
        """Let that form come again, if possible."""
        ...

    def add(self, token: Token) -> None:
        """Keep a new token, with its end or not at all."""
        ...

    def get(self, digest: str) -> Token | None:
        """Return the token kept under *digest*, or where that moved."""
        ...

    def digests_of(self, token_id: str) -> list[str]:
        """Return the digest of the token with that public id; several, if others wrote it more than once."""
        ...

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

        An *expires_at* of LEAVE leaves its end, an *enabled* of None leaves that.
        """
        ...

    def enable(self, token: Token, *, enabled: bool) -> bool:
        """Switch *token* on or off; False if it is gone or moved."""
        ...

    def choose(self, token: Token, candidates: Iterable[tuple[str, str]]) -> tuple[str, str]:
        """Return the first of *candidates*, texts with their digests, that *token* can be rotated to."""
        ...

    def rotate(self, token: Token, digest: str, grace_ends_at: int) -> bool:
        """Give *token* another digest, to which the old leads until *grace_ends_at*, 0 for not at all.

        False if it is gone or moved.
        """
        ...

    def remove(self, token: Token) -> bool:
        """Forget *token* and all that belongs to it; False if it was gone already."""
        ...

    def durability(self) -> Durability:
        """Return what is known of every change, before it is made."""
        ...

    def usage(self, token: Token, now_s: int) -> Usage:
        """Return how often *token* was used."""
        ...

    def page(self, number: int, size: int) -> tuple[Sequence[Token], int]:
        """Return the tokens of page *number*, newest first, and the count of all."""
        ...

    def search(self, query: Query, start: str | None, size: int) -> Found:
        """Return the newest tokens that *query* means, from *start* on; it may take another search."""
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
