"""Changes that an operator asks for, each with the question whether it is on disk."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
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

_UNCONFIRMED = "Redis has not confirmed that a change is on disk; a crash of Redis may undo it"
_OF_SERVER = {
    Durability.NO_FILE: "Redis has no append-only file: a crash may bring deleted tokens back; "
    "run redis-cli CONFIG SET appendonly yes, and keep it in its configuration",
    Durability.UNTOLD: "this Redis can't confirm that a change is on disk; that takes Redis 7.2 or later "
    "and the right to WAITAOF, or appendfsync always and the right to CONFIG GET",
}
_log = logging.getLogger(__name__)


class Disk:
    """Makes changes, and asks on the same connection how safe each is: WAITAOF speaks of no other."""

    def __init__(self, client: Client, report: Callable[[Durability], None]) -> None:
        self._client: Any = client
        self._report = report
        self._logged: set[Durability] = set()

    def change(self, script: Script, keys: Sequence[str], args: Sequence[str | int]) -> bool:
        """Run *script*, tell whether it changed something, and report whether that is on disk.

        Raises UnknownOutcomeError if no answer came; a refusal passes as redis-py raises it.
        """
        with self._client.client() as own:
            changed = _run(script, own, keys, args)
            if changed:
                self._tell(_ask_in_time(own))
            return changed

    def glance(self) -> Durability:
        """Return what this server says of its disk right now; UNTOLD and NO_FILE are about every change."""
        return _ask(self._client, _GLANCE_MS)

    def _tell(self, durability: Durability) -> None:
        if durability is Durability.UNCONFIRMED:
            _log.warning(_UNCONFIRMED)
        elif durability in _OF_SERVER and durability not in self._logged:
            _log.warning(_OF_SERVER[durability])
            self._logged.add(durability)
        self._report(durability)


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
    """Ask; the change is done, so that a silence is no failure any more."""
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
    """Find out what holds on a server that did not take the question."""
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
    """Tell whether the server writes to the disk before it answers, so that what was answered is there."""
    said = client.config_get("*appendfsync*")
    return (said["appendfsync"], said["no-appendfsync-on-rewrite"]) == ("always", "no")
