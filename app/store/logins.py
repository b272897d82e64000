"""Counts wrong passwords in Redis (docs/decisions/0012 and 0020)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import redis

from app.core.audit import Action, Actor
from app.core.limits import Limit, Refusal
from app.core.logins import KNOWN_S, MAX_KNOWN, WINDOW_S, WRONG_OF_KNOWN, Logins, scopes
from app.store import keys
from app.store.trail import Trail
from app.store.transport.cluster import Client
from app.store.transport.deadlines import bounded, is_wrong_type
from app.store.transport.scripts import Script

_KEYS = (keys.WRONG_LOGINS, keys.KNOWN_CLIENTS, keys.NOTED_REFUSAL)
_RULES = (WINDOW_S, MAX_KNOWN, KNOWN_S, WRONG_OF_KNOWN)


class RedisLogins(Logins):
    """Counts wrong passwords with ``login.lua``."""

    def __init__(self, client: Client, deadline_s: float, trail: Trail) -> None:
        self._client: Any = client
        self._deadline_s = deadline_s
        self._trail = trail
        self._login = Script("login", "trail")

    def weigh(self, actor: Actor, client: str, *, is_right: bool) -> Refusal | None:
        counted = scopes(client)
        limits = [text for scope in counted for text in (scope.name, scope.limit.max_requests)]
        trail = self._trail.beside(keys.WRONG_LOGINS, actor, Action.LOGIN_REFUSED)
        with bounded(self._deadline_s):
            reply, noted = self._login.run(self._client, _KEYS, [int(is_right), *_RULES, *limits, trail])
            self._trail.report(noted)
            return _read(reply, [scope.limit for scope in counted])

    def reset(self) -> int:
        with bounded(self._deadline_s):
            pipe = self._client.pipeline(transaction=True)
            pipe.llen(keys.WRONG_LOGINS)
            pipe.delete(keys.WRONG_LOGINS)
            try:
                return int(pipe.execute()[0])
            except redis.ResponseError as error:
                if not is_wrong_type(error):
                    raise
                return 0  # another program wrote a key of another type, which is deleted too


def _read(reply: Any, limits: Sequence[Limit]) -> Refusal | None:
    """Return the refusal in a reply of ``login.lua``; raise ValueError for any other one."""
    match reply:
        case [0, 0]:
            return None
        case [int() as reached, int() as wait_us] if 0 < reached <= len(limits) and wait_us > 0:
            return Refusal(limits[reached - 1], wait_us)
    raise ValueError("not a reply of login.lua")
