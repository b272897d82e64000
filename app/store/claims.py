"""Claims of idempotency keys, and their vouchers (docs/decisions/0028).

A claim is a text of three words. A voucher is OPEN until the script that adds the token deletes it, or VOID.
It shares a slot with the record, and outlives its claim.
"""

from __future__ import annotations

from typing import Any

from app.core.idempotency import Claim, Claims
from app.store import keys
from app.store.transport.cluster import Client
from app.store.transport.deadlines import bounded
from app.store.transport.scripts import Script

OPEN, VOID = "open", "void"  # add.lua knows OPEN
CLAIM_S = 86_400
_VOUCHER_S = CLAIM_S + 3600


class RedisClaims(Claims):
    """Stores each claim, and each voucher, in a string of its own."""

    def __init__(self, client: Client, deadline_s: float) -> None:
        self._client: Any = client
        self._deadline_s = deadline_s
        self._place = Script("claim")

    def find(self, name: str) -> Claim | None:
        with bounded(self._deadline_s):
            kept = self._client.get(keys.claim(name))
            return Claim(*kept.decode().split(" ", 2)) if kept else None

    def issue_voucher(self, claim: Claim) -> None:
        with bounded(self._deadline_s):
            self._client.set(keys.voucher(claim.digest, claim.token_id), OPEN, ex=_VOUCHER_S)

    def place(self, name: str, claim: Claim, before: Claim | None) -> bool:
        args = [" ".join(before or ()), " ".join(claim), CLAIM_S]
        with bounded(self._deadline_s):
            return bool(self._place.run(self._client, [keys.claim(name)], args))

    def void(self, claim: Claim) -> bool:
        with bounded(self._deadline_s):
            voucher = keys.voucher(claim.digest, claim.token_id)
            return bool(self._client.set(voucher, VOID, xx=True, keepttl=True))

    def is_redeemed(self, claim: Claim) -> bool:
        with bounded(self._deadline_s):
            return not self._client.exists(keys.voucher(claim.digest, claim.token_id))
