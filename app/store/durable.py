"""Changes that an operator asks for, each followed by the question whether it is on disk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gevent
import redis

from app.core.durability import Durability
from app.core.errors import UnknownOutcomeError
from app.store.transport.cluster import Client
from app.store.transport.scripts import Script

# More than the second between two syncs of appendfsync everysec, less than the pages' two.
_WAIT_MS = 1500
_GLANCE_MS = 1
_LOST = (redis.RedisError, OSError, gevent.Timeout)


class Disk:
    """Makes changes, and asks on the same connection how durable each is: WAITAOF covers no other one."""

    def __init__(self, client: Client) -> None:
        self._client: Any = client

    def change(self, script: Script, keys: Sequence[str], args: Sequence[str | int]) -> Durability | None:
        """Run *script*; return how durable its change is, or None if it changed nothing.

        Raises UnknownOutcomeError if Redis did not answer; a refusal passes as redis-py raises it.
        """
        with self._client.client() as own:
            return _ask_in_time(own) if _run(script, own, keys, args) else None

    def glance(self) -> Durability:
        """Return what the server says of its disk right now; UNTOLD and NO_FILE hold for every change."""
        return _ask(self._client, _GLANCE_MS)


def _run(script: Script, own: Any, keys: Sequence[str], args: Sequence[str | int]) -> bool:
    try:
        changed = script.run(own, keys, args)
    except redis.ResponseError:
        raise
    except _LOST as error:
        raise UnknownOutcomeError("Redis fell silent before it answered") from error
    if changed not in (0, 1):
        raise UnknownOutcomeError("the answer of Redis makes no sense")
    return bool(changed)


def _ask_in_time(own: Any) -> Durability:
    """Ask; since the change is done, no answer is not a failure."""
    try:
        return _ask(own, _WAIT_MS)
    except (*_LOST, TypeError, ValueError):
        return Durability.UNCONFIRMED


def _ask(client: Any, wait_ms: int) -> Durability:
    try:
        on_disk, _ = client.execute_command("WAITAOF", 1, 0, wait_ms)
    except redis.ResponseError:
        return _look(client)
    return Durability.CONFIRMED if on_disk else Durability.UNCONFIRMED


def _look(client: Any) -> Durability:
    """Return what holds on a server that refused WAITAOF."""
    try:
        file = client.info("persistence")
        if not file["aof_enabled"]:
            return Durability.NO_FILE
        if not _syncs_first(client):
            return Durability.UNTOLD
    except (redis.ResponseError, KeyError):
        return Durability.UNTOLD
    # While a file is written anew it may be the first one, which counts only when it is complete.
    is_moving = file.get("aof_rewrite_in_progress") or file.get("aof_rewrite_scheduled")
    return Durability.UNCONFIRMED if is_moving else Durability.CONFIRMED


def _syncs_first(client: Any) -> bool:
    """Tell whether the server syncs before it replies, so that every change it has replied to is on disk."""
    config = client.config_get("*appendfsync*")
    return (config["appendfsync"], config["no-appendfsync-on-rewrite"]) == ("always", "no")
