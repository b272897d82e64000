"""The canary that finds out a replica with the wrong pepper before it refuses everybody."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

import redis

from app.core.errors import StoreUnavailableError
from app.store import keys
from app.store.transport.background import Shared
from app.store.transport.cluster import Client
from app.store.transport.cluster_pipeline import ClusterLine
from app.store.transport.deadlines import is_wrong_type
from app.store.transport.pipeline import Pipeline

_RETRY_S = 1.0
_MESSAGE = (
    "PEPPER is not the one that the tokens in this Redis were made with. Set the right one, or the old one "
    "as PEPPER_PREVIOUS. To give up all tokens made so far: flask --app wsgi tokens forget-pepper"
)
_log = logging.getLogger(__name__)


class WrongPepperError(StoreUnavailableError):
    """The tokens in this Redis were made with another pepper, so an unknown token proves nothing."""


class Canary:
    """Compares fingerprints of our peppers with those under which Redis has known tokens."""

    def __init__(self, line: Client | Pipeline | ClusterLine, fingerprints: Sequence[str]) -> None:
        self._line: Any = line
        self._looking = Shared(self._look)
        self.current, *self._previous = fingerprints
        self._is_sure = False
        self._is_wrong = False
        self._is_noted = False
        self._next_look = float("-inf")

    @property
    def label(self) -> dict[str, str]:
        """Return the field that marks a record as of the current pepper; none while there is but one."""
        return {"pepper": self.current} if self._previous else {}

    def check(self) -> None:
        """Return unless our pepper is a wrong one; raises WrongPepperError then, and says so in the log.

        Looks again once a second until it is sure, and writes nothing.
        """
        if self._is_sure:
            return
        if time.monotonic() >= self._next_look:
            self._looking()
        if self._is_wrong:
            _log.error(_MESSAGE)
            raise WrongPepperError(_MESSAGE)

    @property
    def is_noted(self) -> bool:
        """Tell whether there is nothing left to vouch for."""
        return self._is_noted

    def vouch(self) -> None:
        """Note our pepper, for a token was made or found under it; without a previous one drop all others."""
        if self._is_noted:
            return
        self._is_noted = True  # by now only this caller tries: a crowd would wait for the pool, each in vain
        try:
            self._note()
        except BaseException:
            self._is_noted = False
            raise
        self._is_sure, self._is_wrong = True, False

    def _note(self) -> None:
        try:
            self._line.execute_command("SADD", keys.PEPPERS, self.current)
        except redis.ResponseError as error:
            if not is_wrong_type(error):
                raise
            self._line.execute_command("DEL", keys.PEPPERS)
            self._line.execute_command("SADD", keys.PEPPERS, self.current)
        if not self._previous and (others := self._seen() - {self.current}):
            self._line.execute_command("SREM", keys.PEPPERS, *others)

    def forget(self) -> None:
        """Give up the peppers seen so far: the next one under which a token is made is the right one."""
        self._line.execute_command("DEL", keys.PEPPERS)

    def _look(self) -> None:
        seen = self._seen()
        ours = {self.current, *self._previous}
        self._is_sure = not seen.isdisjoint(ours)
        self._is_wrong = bool(seen) and not self._is_sure
        self._is_noted = self.current in seen and (bool(self._previous) or len(seen) == 1)
        self._next_look = time.monotonic() + _RETRY_S

    def _seen(self) -> set[str]:
        """Return the fingerprints in Redis; a key of another type tells of none."""
        try:
            members = self._line.execute_command("SMEMBERS", keys.PEPPERS)
        except redis.ResponseError as error:
            if not is_wrong_type(error):
                raise
            return set()
        return {member.decode(errors="replace") for member in members}
