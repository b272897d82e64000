"""What the holder of a token may do with it (docs/decisions/0026)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from app.core import fields, tokens
from app.core.audit import Actor
from app.core.catalog import Catalog
from app.core.changes import Change, Issued
from app.core.errors import (
    ConflictError,
    StoreUnavailableError,
    TooManyRotationsError,
    UnknownOutcomeError,
)
from app.core.gate import Gate
from app.core.held import Held
from app.core.networks import contain
from app.core.registry import Registry
from app.core.token_store import TokenChanges
from app.core.tokens import Status, Token
from app.core.verdicts import Attempt, Decision, Identity, Verdict

# In any hour. Thus the replaced secrets of one token fill less than half of MAX_ENDED.
MAX_ROTATIONS = 6
_INACTIVE: Mapping[Status, Verdict] = {
    Status.DISABLED: Verdict.DISABLED_TOKEN,
    Status.NOT_YET_VALID: Verdict.TOKEN_NOT_YET_VALID,
}


class Holders:
    """Recognizes the holder of a token by its secret, and changes that token alone.

    Each method raises StoreUnavailableError when the store can't answer.
    """

    def __init__(
        self, gate: Gate, catalog: Catalog, registry: Registry, changes: TokenChanges, prefix: str
    ) -> None:
        self._gate = gate
        self._catalog = catalog
        self._registry = registry
        self._changes = changes
        self._prefix = prefix

    def recognize(self, attempt: Attempt, *, anywhere: bool) -> Held | Decision:
        """Return the token of *attempt*, or the refusal; *anywhere* ignores the networks of the token.

        Nothing is counted or spent.
        """
        is_whole = attempt.fault is None and not tokens.is_mistyped(attempt.secret, self._prefix)
        held = self._catalog.held_by(attempt.secret) if is_whole else None
        if held is None:
            # Without a host, which no token opens, the gate can only refuse.
            return self._gate.check(Attempt(attempt.secret, None, attempt.fault))
        networks = () if anywhere else held.token.networks
        verdict = _fault(held.token, self._registry.now_s) or _misplacement(networks, attempt.address)
        return Decision(verdict, _identity(held.token)) if verdict else held

    def rotate(self, actor: Actor, held: Held, grace_seconds: str) -> Issued:
        """Give the token a new secret, as ``Registry.rotate`` does.

        Raises also ConflictError for a replaced secret, which must not take over the token, and
        TooManyRotationsError.
        """
        if held.is_replaced:
            raise ConflictError("this secret was replaced; only the new one can rotate the token")
        fields.parse_grace(grace_seconds)  # before it counts
        # Each claim lasts an hour, so there are at most so many in any hour.
        claims = (f"rotation-{number}-of-{held.token.id}" for number in range(MAX_ROTATIONS))
        claim = next(filter(self._changes.claim, claims), None)
        if claim is None:
            raise TooManyRotationsError(f"rotated {MAX_ROTATIONS} times within an hour; nothing was changed")
        try:
            return self._registry.rotate(actor, held.token, grace_seconds)
        except UnknownOutcomeError:
            raise
        except (ConflictError, StoreUnavailableError):  # nothing was rotated
            self._changes.release(claim)
            raise

    def end(self, actor: Actor, held: Held) -> Change:
        """Delete the token, or end only the secret if a rotation replaced it; raise NoSuchTokenError."""
        if held.is_replaced:
            return self._registry.retire(actor, held)
        return self._registry.delete(actor, held.token)


def _fault(token: Token, now_s: int) -> Verdict | None:
    """Return why /auth refuses *token* whatever is requested; raise StoreUnavailableError as it does."""
    if token.fault:
        raise StoreUnavailableError("the record of this token can't be read")
    return _INACTIVE.get(token.status(now_s))


def _misplacement(networks: Sequence[str], address: str | None) -> Verdict | None:
    return Verdict.WRONG_NETWORK if networks and not contain(networks, address) else None


def _identity(token: Token) -> Identity:
    return Identity(token.id.encode(), token.email.encode(), token.comment.encode())
