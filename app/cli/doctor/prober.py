"""Requests to the entrance that are counted, and answers that can be told apart."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from http import HTTPStatus

from app.cli.doctor.visits import Answer, Door, Headers, VisitError
from app.cli.doctor.wallet import Minted, Wallet
from app.version import ADMIN_REALM

_PATIENCE_S = 50  # less than the tokens last
_ECHO = "X-Doctor-Echo"


@dataclass
class Prober:
    """Visits *door*; *realm* is that of the challenges of /auth, and *marker* goes with each request."""

    door: Door
    wallet: Wallet
    realm: str
    requests: int = 0
    give_up_at: float = field(default_factory=lambda: time.monotonic() + _PATIENCE_S)
    marker: str = field(default_factory=lambda: f"echo{secrets.token_hex(8)}")

    def visit(
        self, headers: Headers = (), *, target: str = "", method: str = "GET", host: str = ""
    ) -> Answer:
        """Return the answer to a request, by default for the address itself; raises VisitError."""
        if time.monotonic() > self.give_up_at:
            raise VisitError(f"the checks took more than {_PATIENCE_S} seconds")
        self.requests += 1
        sent = [*headers, (_ECHO, self.marker)]
        return self.door.visit(target or self.door.url.target, sent, method, host)

    def knock(self, token: Minted, headers: Headers = (), *, host: str = "") -> tuple[Answer, bool]:
        """Return the answer to a request with *token*, and whether the service allowed it, as it counted."""
        before = self.wallet.allowed(token)
        answer = self.visit(headers or token.headers, host=host)
        return answer, self.wallet.allowed(token) > before

    def is_echo(self, answer: Answer) -> bool:
        """Tell whether *answer* is that of a backend that echoes its request."""
        return self.marker in answer.body

    def is_refusal(self, answer: Answer) -> bool:
        """Tell whether *answer* is the challenge of /auth for a token."""
        return _has_challenge(answer, self.realm)

    @staticmethod
    def is_admin(answer: Answer) -> bool:
        """Tell whether *answer* is the challenge of the admin pages."""
        return _has_challenge(answer, ADMIN_REALM)


def _has_challenge(answer: Answer, realm: str) -> bool:
    challenge = f'realm="{realm}"'
    return answer.status == HTTPStatus.UNAUTHORIZED and challenge in answer.get("WWW-Authenticate")
