"""How many wrong passwords are answered before all passwords are refused for a while."""

from __future__ import annotations

from typing import Protocol

from app.core.limits import Limit, Refusal

WRONG_PER_CLIENT = Limit(60, 60)
WRONG_IN_ALL = Limit(200, 60)

# Clients that gave the right password lately; the limit in all does not shut them out.
MAX_KNOWN = 20
KNOWN_S = 30 * 86_400


class Logins(Protocol):
    """Remembers wrong passwords."""

    def weigh(self, client: str, *, is_right: bool) -> Refusal | None:
        """Note what *client* typed; a refusal means that it may not even hear whether that was right.

        Raises StoreUnavailableError.
        """
        ...

    def reset(self) -> int:
        """Forget all wrong passwords and return how many there were; raises StoreUnavailableError."""
        ...
