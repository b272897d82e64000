"""The ledger: one script decides on a token's record in one round trip.

See docs/decisions/0003, 0005, 0018 and 0025.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from itertools import count
from typing import Any

from app.core.ended import Ending
from app.core.errors import StoreUnavailableError
from app.core.fields import MAX_GRACE_S
from app.core.gate import Ledger
from app.core.limits import QUOTA, RATE, Limit, Refusal
from app.core.restrictions import RESTRICTIONS
from app.core.tokens import DIGEST, inherited_id
from app.core.verdicts import Decision, Identity, Verdict
from app.store import keys, records
from app.store.index_records import MAX_MOVES
from app.store.pepper_check import PepperCheck
from app.store.rekey import Redirect, Rekeyer
from app.store.transport.background import run_in_background
from app.store.transport.cluster import Client
from app.store.transport.cluster_pipeline import ClusterPipeline
from app.store.transport.deadlines import DECISION, Deadlines, bounded
from app.store.transport.pipeline import Pipeline
from app.store.transport.scripts import Script

# take.lua accepts no limit or window with more digits, whichever program wrote it.
_MAX_FIGURE = 10**13
_INVALID_REPLY = "Redis sent an invalid reply, or the record redirects to an invalid digest"
_ABSENT = {Verdict.UNKNOWN_TOKEN, Verdict.EXPIRED_TOKEN}
# The verdicts that take.lua returns with the identity alone.
_OF_IDENTITY = {
    verdict.encode(): verdict
    for verdict in (
        Verdict.ALLOWED,
        Verdict.DISABLED_TOKEN,
        Verdict.TOKEN_NOT_YET_VALID,
        *(restriction.verdict for restriction in RESTRICTIONS),
    )
}
_ENDINGS = {ending.encode(): ending for ending in (Ending.DELETED, Ending.REPLACED)}
_OF_LIMITS = {verdict.value.encode(): verdict for verdict in (Verdict.RATE_LIMITED, Verdict.QUOTA_EXCEEDED)}


class RedisLedger(Ledger):
    """Decides and takes permits with ``take.lua``."""

    def __init__(
        self,
        client: Client,
        pepper_check: PepperCheck,
        default: Limit,
        deadline_s: float,
        pipeline: Pipeline | ClusterPipeline | None = None,
    ) -> None:
        self._client = pipeline or client
        self.concurrent = pipeline is not None
        self._unsettled: set[str] = set()
        self._pepper_check = pepper_check
        self._default = (default.max_requests, default.window_s)
        # A pipeline belongs to one event loop; without one, several threads may call.
        self._within = (
            Deadlines(deadline_s, DECISION) if pipeline else partial(bounded, deadline_s, setting=DECISION)
        )
        self._take = Script("take")
        self._calls = count()
        # Not confirmed on disk: if a crash undoes the move, the token moves again at its next use.
        self._rekeyer: Rekeyer[bool] = Rekeyer(
            client, pepper_check, lambda script, names, args: script.run(client, names, args)
        )

    def take(self, digests: Sequence[str], candidates: Sequence[str]) -> Decision:
        args: list[str | int] = [*self._default, *candidates]
        with self._within():
            self._pepper_check.check()
            absent = Decision(Verdict.UNKNOWN_TOKEN)
            for digest in digests:
                decision = self._follow(digest, args)
                if decision.verdict not in _ABSENT:
                    if decision.verdict is Verdict.ALLOWED and decision.identity:
                        self._settle(decision.identity.token_id, digest, digests[0])
                    return decision
                if decision.identity and absent.verdict is not Verdict.EXPIRED_TOKEN:
                    absent = decision
        return absent

    def probe(self, name: str) -> None:
        """Decide on *name*, which no token has; raise what a decision would raise, and write nothing."""
        self._follow(name, [*self._default, *("" for _ in RESTRICTIONS)])

    def _settle(self, token_id: bytes, found: str, current: str) -> None:
        """Follow up on an allowed token in the background, unless there is nothing to do or it is running."""
        if (found == current and self._pepper_check.is_recorded) or found in self._unsettled:
            return
        self._unsettled.add(found)
        settle = partial(self._settle_one, token_id.decode(errors="replace"), found, current)
        run_in_background(settle, concurrent=self.concurrent)

    def _settle_one(self, token_id: str, found: str, current: str) -> None:
        """Move a token from a previous pepper to the current one, and record that the pepper is right."""
        try:
            if found != current:
                token_id = records.id_of(found, token_id)
                self._rekeyer.move(token_id, found, current, Redirect(int(time.time()) + MAX_GRACE_S))
            self._pepper_check.record_current()
        finally:
            self._unsettled.discard(found)

    def _follow(self, digest: str, args: Sequence[str | int]) -> Decision:
        """Return the decision on *digest*, following moved records: one more round trip for each move."""
        found, seen = self._ask(digest, args), [digest]
        while not isinstance(found, Decision):
            where, token_id = found
            if where in seen or len(seen) == MAX_MOVES:
                raise StoreUnavailableError("a record that redirects in circles")
            seen.append(where)
            found = self._ask(where, [*args, token_id] if token_id else args)
        return found

    def _ask(self, digest: str, args: Sequence[str | int]) -> Decision | tuple[str, str]:
        """Return the decision on *digest*, or the digest to which its record moved and the token's id."""
        names, call = keys.all_of(digest), f"{next(self._calls)}"
        reply = self._take.run(self._client, names, [*args, call])
        match reply:
            case [own, *content, last] if own == names[0].encode() and last == call.encode():
                return _read(digest, content)
        self._client.close()  # every later reply on this connection would be wrong too
        raise StoreUnavailableError("the reply belongs to another request")


def _read(digest: str, reply: Sequence[Any]) -> Decision | tuple[str, str]:
    """Return the decision in a reply, or the digest to which the record moved and the token's id.

    Raises StoreUnavailableError.

    A reply that differs in any element from what ``take.lua`` documents is not a decision.
    """
    match reply:
        case [bytes() as verdict, bytes() as token_id, bytes() as email, bytes() as comment] if (
            verdict in _OF_IDENTITY
        ):
            return Decision(_OF_IDENTITY[verdict], _identity(digest, token_id, email, comment))
        case [b"unknown_token"]:
            return Decision(Verdict.UNKNOWN_TOKEN)
        case [b"unknown_token", bytes() as token_id, bytes() as ending] if ending in _ENDINGS:
            return Decision(
                Verdict.UNKNOWN_TOKEN, _identity(digest, token_id, b"", b""), ending=_ENDINGS[ending]
            )
        case [bytes() as word, bytes() as token_id, bytes() as email, bytes() as comment, *figures] if (
            word in _OF_LIMITS
        ):
            identity = _identity(digest, token_id, email, comment)
            return Decision(_OF_LIMITS[word], identity, _refusal(_OF_LIMITS[word], figures))
        case [b"expired_token", bytes() as token_id]:
            return Decision(Verdict.EXPIRED_TOKEN, _identity(digest, token_id, b"", b""))
        case [b"moved", bytes() as where, bytes() as token_id] if DIGEST.fullmatch(
            moved_to := where.decode("latin-1")
        ):
            return moved_to, token_id.decode("latin-1")
    raise StoreUnavailableError(_INVALID_REPLY)


def _refusal(verdict: Verdict, figures: Sequence[Any]) -> Refusal:
    """Return the limits and the wait in a reply; raises StoreUnavailableError."""
    name, other_name = (QUOTA, RATE) if verdict is Verdict.QUOTA_EXCEEDED else (RATE, QUOTA)
    match figures:
        case [max_requests, window_s, int() as wait_us, *others] if _are_limits(
            [max_requests, window_s, *others]
        ) and 0 < wait_us <= 2_000_000 * max([window_s, *others[1:]]):
            other = Limit(others[0], others[1], other_name) if others else None
            return Refusal(Limit(max_requests, window_s, name), wait_us, other)
    raise StoreUnavailableError(_INVALID_REPLY)


def _are_limits(figures: Sequence[Any]) -> bool:
    """Return whether *figures* are one or two limits, each followed by its window."""
    return len(figures) in {2, 4} and all(
        isinstance(figure, int) and 0 < figure <= _MAX_FIGURE for figure in figures
    )


def _identity(digest: str, token_id: bytes, email: bytes, comment: bytes) -> Identity:
    return Identity(token_id or inherited_id(digest).encode(), email, comment)
