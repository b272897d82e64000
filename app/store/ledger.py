"""The gate's memory: one script, one round trip."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import redis

from app.core.gate import Decision, Identity, Verdict
from app.core.limits import Limit, Refusal
from app.core.registry import StoreUnavailableError
from app.core.tokens import inherited_id
from app.store import keys
from app.store.errors import bounded
from app.store.scripts import Script

_VERDICTS = {
    b"allowed": Verdict.ALLOWED,
    b"unknown": Verdict.UNKNOWN,
    b"disabled": Verdict.DISABLED,
    b"wrong_host": Verdict.WRONG_HOST,
    b"limited": Verdict.RATE_LIMITED,
}


class RedisLedger:
    """Takes permits with ``take.lua``."""

    def __init__(self, client: redis.Redis, default: Limit, deadline_s: float) -> None:
        self._client = client
        self._defaults = (default.max_requests, default.window_s)
        self._deadline_s = deadline_s
        self._take = Script("take")

    def take(self, digest: str, patterns: Sequence[str]) -> Decision:
        """Take a permit if the token lists one of *patterns*; raises StoreUnavailableError."""
        record = keys.record(digest)
        args: list[str | int] = [*self._defaults, *(f",{pattern}," for pattern in patterns)]
        with bounded(self._deadline_s):
            reply = self._take.run(self._client, (record, keys.window(digest)), args)
        if reply[0] != record.encode():
            raise StoreUnavailableError("the answer belongs to another request")
        return _decision(digest, *reply[1:])


def _decision(digest: str, outcome: bytes, *rest: Any) -> Decision:
    verdict = _VERDICTS[outcome]
    if verdict is Verdict.UNKNOWN:
        return Decision(verdict)
    token_id, email, comment, *refused = rest
    identity = Identity(token_id or inherited_id(digest).encode(), email, comment)
    return Decision(verdict, identity, _refusal(*refused) if refused else None)


def _refusal(most: int, window_s: int, wait_us: int) -> Refusal:
    return Refusal(Limit(most, window_s), wait_us)
