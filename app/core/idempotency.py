"""At most one token, and one rotation, for each idempotency key (docs/decisions/0028)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import NamedTuple, Protocol

from app.core.errors import AlreadyIssuedError, ReusedKeyError
from app.core.peppers import Peppers
from app.core.tokens import Token

_BUSY = "another request with this idempotency key is being carried out; send it again in a moment"
_REUSED = "this idempotency key was used for another request; nothing was changed"


class Claim(NamedTuple):
    """What an idempotency key was used for: the seal of the request, and the token as it was then."""

    seal: str
    token_id: str
    digest: str


class Claims(Protocol):
    """Remembers claims for a day; each method raises StoreUnavailableError when it can't.

    A claim for a new token has a voucher, without which the token can't be created, and which the creation
    uses up.
    """

    def find(self, name: str) -> Claim | None:
        """Return the claim under *name*."""
        ...

    def issue_voucher(self, claim: Claim) -> None:
        """Store the voucher of *claim*."""
        ...

    def place(self, name: str, claim: Claim, before: Claim | None) -> bool:
        """Store *claim* in place of the one *before*, or return False if that is no longer the stored one."""
        ...

    def void(self, claim: Claim) -> bool:
        """Make sure that *claim* creates no token, or return False if it has created one."""
        ...

    def is_redeemed(self, claim: Claim) -> bool:
        """Return whether the token of *claim* was created."""
        ...


class Request(NamedTuple):
    """A request that may be sent twice: the name of its claim, its seal, and the claim of an earlier one."""

    name: str
    seal: str
    earlier: Claim | None


class Once:
    """Recognizes a request that is sent again with its idempotency key.

    Each method raises StoreUnavailableError when the claims can't be read or stored.
    """

    def __init__(self, claims: Claims, peppers: Peppers) -> None:
        self._claims = claims
        self._peppers = peppers

    def creation(self, key: str, typed: Mapping[str, str], *more: object) -> Request:
        """Return the request for a new token; raise AlreadyIssuedError or ReusedKeyError.

        An earlier request that has created no token can create none any more.
        """
        filled = sorted((name, text) for name, text in typed.items() if text)
        request = self._request("create", key, filled, more)
        if request.earlier and not self._claims.void(request.earlier):
            raise _created(request.earlier.token_id)
        return request

    def claim(self, request: Request, token: Token) -> None:
        """Claim the key of *request* for the new *token*; raise AlreadyIssuedError if it is too late."""
        claim = Claim(request.seal, token.id, token.digest)
        self._claims.issue_voucher(claim)
        if not self._claims.place(request.name, claim, request.earlier):
            raise self.overtaken(request)

    def overtaken(self, request: Request) -> AlreadyIssuedError:
        """Return the error for *request* after another one with its key has come first."""
        claim = self._claims.find(request.name)
        return _created(claim.token_id) if claim and self._claims.is_redeemed(claim) else _busy()

    def rotation(self, key: str, token: Token, grace_s: int) -> None:
        """Claim *key* for a rotation of *token*; raise AlreadyIssuedError or ReusedKeyError.

        It needs no voucher: of two rotations of the same secret, one succeeds.
        """
        request = self._request("rotate", key, token.id, grace_s)
        if request.earlier is None:
            if not self._claims.place(request.name, Claim(request.seal, token.id, token.digest), None):
                raise _busy()
        elif request.earlier.digest != token.digest:
            raise AlreadyIssuedError(
                "this request was sent before, and the token has another secret since, which is not shown "
                "again; nothing was changed",
                token.id,
            )

    def _request(self, purpose: str, key: str, *facts: object) -> Request:
        """Return the request of those *facts*; raise ReusedKeyError."""
        text = json.dumps([purpose, *facts])
        name = sha256(f"{purpose} {key}".encode(errors="surrogatepass")).hexdigest()
        seals, earlier = self._peppers.seals(text), self._claims.find(name)
        if earlier and earlier.seal not in seals:
            raise ReusedKeyError(_REUSED)
        return Request(name, seals[0], earlier)


def _created(token_id: str) -> AlreadyIssuedError:
    return AlreadyIssuedError(
        f"this request was sent before and created token {token_id}, whose secret is not shown again",
        token_id,
    )


def _busy() -> AlreadyIssuedError:
    return AlreadyIssuedError(_BUSY)
