"""The memory of wrong passwords."""

from __future__ import annotations

from typing import Any

from app.core.limits import Limit, Refusal
from app.core.logins import KNOWN_S, MAX_KNOWN, WRONG_IN_ALL, WRONG_PER_CLIENT
from app.store import keys
from app.store.cluster import Client
from app.store.errors import bounded
from app.store.scripts import Script

_KEYS = (keys.WRONG_LOGINS, keys.KNOWN_CLIENTS)
_LIMITS: dict[bytes, Limit] = {b"client": WRONG_PER_CLIENT, b"all": WRONG_IN_ALL}


class RedisLogins:
    """Counts with ``login.lua``, over all workers and replicas."""

    def __init__(self, client: Client, deadline_s: float) -> None:
        self._client: Any = client
        self._deadline_s = deadline_s
        self._login = Script("login")
        self._rules = (
            WRONG_PER_CLIENT.window_s,
            WRONG_PER_CLIENT.max_requests,
            WRONG_IN_ALL.max_requests,
            MAX_KNOWN,
            KNOWN_S,
        )

    def weigh(self, client: str, *, is_right: bool) -> Refusal | None:
        """Note what *client* typed; a refusal means that it may not even hear whether that was right.

        Raises StoreUnavailableError.
        """
        with bounded(self._deadline_s):
            word, *wait_us = self._login.run(self._client, _KEYS, [client, int(is_right), *self._rules])
        return Refusal(_LIMITS[word], *wait_us) if wait_us else None

    def reset(self) -> int:
        """Forget all wrong passwords and return how many there were; raises StoreUnavailableError."""
        with bounded(self._deadline_s):
            pipe = self._client.pipeline(transaction=True)
            pipe.llen(keys.WRONG_LOGINS)
            pipe.delete(keys.WRONG_LOGINS)
            return int(pipe.execute()[0])
