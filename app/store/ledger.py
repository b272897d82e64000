"""The gate's memory: one script, one round trip."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import count
from typing import Any

from app.core.fields import MAX_GRACE_S
from app.core.gate import Decision, Identity, Verdict
from app.core.limits import Limit, Refusal
from app.core.registry import StoreUnavailableError
from app.core.tokens import inherited_id
from app.store import keys
from app.store.background import afterwards
from app.store.canary import Canary
from app.store.cluster import Client
from app.store.errors import DECISION, Deadlines, bounded
from app.store.lines import ClusterLine
from app.store.moves import MAX_MOVES, Mover
from app.store.pipeline import Pipeline
from app.store.scripts import Script

_VERDICTS = {
    b"allowed": Verdict.ALLOWED,
    b"unknown": Verdict.UNKNOWN,
    b"disabled": Verdict.DISABLED,
    b"not_yet": Verdict.NOT_YET,
    b"wrong_host": Verdict.WRONG_HOST,
    b"limited": Verdict.RATE_LIMITED,
}
_MOVED = b"moved"


class RedisLedger:
    """Takes permits with ``take.lua``."""

    def __init__(
        self,
        client: Client,
        canary: Canary,
        default: Limit,
        deadline_s: float,
        line: Pipeline | ClusterLine | None = None,
    ) -> None:
        self._line = line or client
        self._unsettled: set[str] = set()
        self._canary = canary
        self._defaults = (default.max_requests, default.window_s)
        # The line belongs to one event loop; without it, several threads may ask.
        self._within = (
            Deadlines(deadline_s, DECISION) if line else partial(bounded, deadline_s, setting=DECISION)
        )
        self._take = Script("take")
        self._calls = count()
        # Without a word about the disk: a token that a crash puts back under its old pepper moves again.
        self._mover = Mover(client, canary, lambda script, names, args: script.run(client, names, args))

    def take(self, digests: Sequence[str], patterns: Sequence[str]) -> Decision:
        """Take a permit of the first known of *digests* if it lists one of *patterns*.

        A token that was found under a previous pepper moves to the current one. Raises StoreUnavailableError.
        """
        args: list[str | int] = [*self._defaults, *(f",{pattern}," for pattern in patterns)]
        with self._within():
            self._canary.check()
            for digest in digests:
                decision = self._follow(digest, args)
                if decision.verdict is not Verdict.UNKNOWN:
                    if decision.verdict is Verdict.ALLOWED and decision.identity:
                        self._settle(decision.identity.token_id, digest, digests[0])
                    return decision
        return Decision(Verdict.UNKNOWN)

    def probe(self, name: str) -> None:
        """Decide on *name*, which no token has: raise what a decision would raise, and change nothing."""
        self._follow(name, self._defaults)

    def _settle(self, token_id: bytes, found: str, current: str) -> None:
        """Do what follows from letting a token in, unless all is settled or this is being done."""
        if (found == current and self._canary.is_noted) or found in self._unsettled:
            return
        self._unsettled.add(found)
        afterwards(partial(self._settle_one, token_id.decode(errors="replace"), found, current))

    def _settle_one(self, token_id: str, found: str, current: str) -> None:
        """Move a token that was let in under a previous pepper to the current one, which is proven right."""
        try:
            if found != current:
                self._mover.move(token_id, found, current, MAX_GRACE_S)
            self._canary.vouch()
        finally:
            self._unsettled.discard(found)

    def _follow(self, digest: str, args: Sequence[str | int]) -> Decision:
        """Decide on *digest*, or on where it moved: one more round trip each time."""
        for _ in range(MAX_MOVES):
            record, window, usage = keys.all_of(digest)
            call = f"{next(self._calls)}"
            reply = self._take.run(self._line, (record, window, usage), [*args, call])
            if not isinstance(reply, list) or reply[:1] + reply[-1:] != [record.encode(), call.encode()]:
                self._line.close()  # what else comes on it is out of step too
                raise StoreUnavailableError("the answer belongs to another request")
            outcome, *rest = reply[1:-1]
            if outcome != _MOVED:
                return _decision(digest, outcome, *rest)
            digest = rest[0].decode()
        raise StoreUnavailableError("a record that moved in circles")


def _decision(digest: str, outcome: bytes, *rest: Any) -> Decision:
    verdict = _VERDICTS[outcome]
    if verdict is Verdict.UNKNOWN:
        return Decision(verdict)
    token_id, email, comment, *refused = rest
    identity = Identity(token_id or inherited_id(digest).encode(), email, comment)
    return Decision(verdict, identity, _refusal(*refused) if refused else None)


def _refusal(most: int, window_s: int, wait_us: int) -> Refusal:
    return Refusal(Limit(most, window_s), wait_us)
