"""The canary that finds out a replica with the wrong pepper before it refuses everybody."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

import redis

from app.core.registry import StoreUnavailableError
from app.logs import Sparse
from app.store import keys

_RETRY_S = 1.0
_MESSAGE = (
    "PEPPER is not the one that the tokens in this Redis were made with. Set the right one, or the old one "
    "as PEPPER_PREVIOUS. To give up all tokens made so far: flask --app wsgi tokens forget-pepper"
)
_log = Sparse(logging.getLogger(__name__), period_s=10)


class WrongPepperError(StoreUnavailableError):
    """The tokens in this Redis were made with another pepper, so an unknown token proves nothing."""


class Canary:
    """Compares fingerprints of our peppers with those that Redis has seen; asks once, until it is content."""

    def __init__(self, client: redis.Redis, fingerprints: Sequence[str]) -> None:
        self._client: Any = client
        self.current, *self._previous = fingerprints
        self._content = False
        self._next_try = float("-inf")

    @property
    def label(self) -> dict[str, str]:
        """Return the field that marks a record as of the current pepper; none while there is but one."""
        return {"pepper": self.current} if self._previous else {}

    def check(self) -> None:
        """Return if our pepper is the one; raises WrongPepperError, and says so in the log."""
        if self._content:
            return
        if time.monotonic() >= self._next_try:
            self._content = self._is_known()
            self._next_try = time.monotonic() + _RETRY_S
        if not self._content:
            _log.error(_MESSAGE)
            raise WrongPepperError(_MESSAGE)

    def forget(self) -> None:
        """Give up the peppers seen so far: the next one that comes is taken for the right one."""
        self._client.delete(keys.PEPPERS)

    def _is_known(self) -> bool:
        seen = {member.decode() for member in self._client.smembers(keys.PEPPERS)}
        if self.current in seen:
            if not self._previous and len(seen) > 1:
                self._client.srem(keys.PEPPERS, *seen - {self.current})
        elif seen and seen.isdisjoint(self._previous):
            return False
        else:
            self._client.sadd(keys.PEPPERS, self.current)
        return True
