"""The check that a replica's pepper is the one that the tokens in Redis were created with.

Redis has a set of fingerprints of the peppers under which tokens were created or found. Without the check, a
replica with a wrong pepper would refuse every token.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

import redis

from app.core.errors import StoreUnavailableError
from app.store import keys
from app.store.transport.background import SingleFlight
from app.store.transport.cluster_pipeline import Executor
from app.store.transport.deadlines import is_wrong_type

_RETRY_S = 1.0
_MESSAGE = (
    "PEPPER is not the one that the tokens in this Redis were created with. Set the right one, or the old "
    "one as PEPPER_PREVIOUS. To give up all existing tokens: flask --app wsgi tokens forget-pepper"
)
_log = logging.getLogger(__name__)


class WrongPepperError(StoreUnavailableError):
    """The tokens in this Redis were created with another pepper, so no token can be called unknown."""


class PepperCheck:
    """Compares the fingerprints of the configured peppers with those in Redis.

    If *concurrent*, callers share one read of the fingerprints.
    """

    def __init__(self, client: Executor, fingerprints: Sequence[str], *, concurrent: bool = False) -> None:
        self._client: Any = client
        self._read = SingleFlight(self._read_state, concurrent=concurrent)
        self.current, *self._previous = fingerprints
        self._is_confirmed = False
        self._is_wrong = False
        self._is_recorded = False
        self._next_read_at = float("-inf")

    @property
    def label(self) -> dict[str, str]:
        """Return the field that marks a record with the current pepper; empty without a previous one."""
        return {"pepper": self.current} if self._previous else {}

    def check(self) -> None:
        """Log and raise WrongPepperError if none of the configured peppers is the right one.

        Until one is confirmed, this reads Redis at most once a second. It never writes.
        """
        if self._is_confirmed:
            return
        if time.monotonic() >= self._next_read_at:
            self._read()
        if self._is_wrong:
            _log.error(_MESSAGE)
            raise WrongPepperError(_MESSAGE)

    @property
    def is_recorded(self) -> bool:
        """Tell whether ``record_current`` has nothing left to do."""
        return self._is_recorded

    def record_current(self) -> None:
        """Add the current pepper's fingerprint to Redis, because a token was created or found under it.

        Without a previous pepper this removes all other fingerprints.
        """
        if self._is_recorded:
            return
        self._is_recorded = True  # so that concurrent callers do not all take a connection for the same write
        try:
            self._write()
        except BaseException:
            self._is_recorded = False
            raise
        self._is_confirmed, self._is_wrong = True, False

    def record(self, fingerprints: Sequence[str]) -> None:
        """Add *fingerprints* of configured peppers to Redis, because tokens of them are imported."""
        try:
            self._client.execute_command("SADD", keys.PEPPERS, *fingerprints)
        except redis.ResponseError as error:
            if not is_wrong_type(error):
                raise
            self._client.execute_command("DEL", keys.PEPPERS)
            self._client.execute_command("SADD", keys.PEPPERS, *fingerprints)

    def _write(self) -> None:
        self.record([self.current])
        if not self._previous and (others := self._recorded() - {self.current}):
            self._client.execute_command("SREM", keys.PEPPERS, *others)

    def forget(self) -> None:
        """Remove all fingerprints: the pepper of the next token that is created becomes the right one."""
        self._client.execute_command("DEL", keys.PEPPERS)

    def _read_state(self) -> None:
        recorded = self._recorded()
        configured = {self.current, *self._previous}
        self._is_confirmed = not recorded.isdisjoint(configured)
        self._is_wrong = bool(recorded) and not self._is_confirmed
        self._is_recorded = self.current in recorded and (bool(self._previous) or len(recorded) == 1)
        self._next_read_at = time.monotonic() + _RETRY_S

    def _recorded(self) -> set[str]:
        """Return the fingerprints in Redis; none if the key holds another type."""
        try:
            members = self._client.execute_command("SMEMBERS", keys.PEPPERS)
        except redis.ResponseError as error:
            if not is_wrong_type(error):
                raise
            return set()
        return {member.decode(errors="replace") for member in members}
