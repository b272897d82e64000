"""What of Redis' configuration would lose tokens, said aloud."""

from __future__ import annotations

import logging
from typing import Any

import redis

from app.store.cluster import Client

_SAFE = "noeviction"
_log = logging.getLogger(__name__)


class Checkup:
    """Looks once at how Redis is set up, as soon as it answers, and warns; it never refuses."""

    def __init__(self, client: Client) -> None:
        self._client: Any = client
        self._is_done = False

    def run(self) -> None:
        """Look, unless that was done; whoever may not ask for INFO is left alone."""
        if self._is_done:
            return
        try:
            policy = self._client.info("memory").get("maxmemory_policy", _SAFE)
        except redis.ResponseError as error:
            _log.info("the configuration of Redis can't be looked at: %s", error)
            policy = _SAFE
        self._is_done = True
        if policy != _SAFE:
            _log.warning(
                "maxmemory-policy of this Redis is %s: when its memory is full it drops tokens and limits. "
                "Set maxmemory-policy to %s",
                policy,
                _SAFE,
            )
