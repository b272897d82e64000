"""Make an operator's changes, and ask Redis whether each one is on disk (docs/decisions/0010)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gevent
import redis

from app.core.durability import Durability
from app.core.errors import PreconditionFailedError, UnknownOutcomeError
from app.store.transport.cluster import Client, Cluster
from app.store.transport.scripts import Script

# More than the second between two syncs of appendfsync everysec, less than the pages' two.
_WAIT_MS = 1500
_GLANCE_MS = 1
_UNMET = 2
_LOST = (redis.RedisError, OSError, gevent.Timeout)


class Disk:
    """Makes changes, and asks on the same connection, which WAITAOF requires, how durable each one is.

    *report* receives what a script that made a change has replied, *on_change* how durable the change is,
    unless it changed nothing. In a series of changes on one server only the last one needs to be asked about,
    and *asks* is false for the others; in a Cluster it has no effect.
    """

    def __init__(
        self,
        client: Client,
        report: Callable[[object], None],
        on_change: Callable[[Durability], None] | None = None,
        *,
        asks: bool = True,
    ) -> None:
        self._client: Any = client
        self._report = report
        self._on_change = on_change
        self._asks = asks or isinstance(client, Cluster)

    def change(self, script: Script, keys: Sequence[str], args: Sequence[Any]) -> Durability | None:
        """Run *script*; return how durable its change is, or None if it changed nothing.

        Raises PreconditionFailedError, and UnknownOutcomeError if Redis did not answer; a refusal is raised
        as redis-py raises it.
        """
        with self._client.client() as pinned:
            reply = _run(script, pinned, keys, args)
            if not reply:
                return None
            self._report(reply)
            durability = _ask_in_time(pinned) if self._asks else Durability.CONFIRMED
        if self._asks and self._on_change and isinstance(reply, list):
            self._on_change(durability)
        return durability

    def glance(self) -> Durability:
        """Return the current durability of the server; UNTOLD and NO_FILE apply to every change."""
        return _ask(self._client, _GLANCE_MS)


def _run(script: Script, pinned: Any, keys: Sequence[str], args: Sequence[Any]) -> object:
    """Return the reply of *script*: the audit entry that it wrote, 1 if it wrote none, 0 for no change."""
    try:
        reply: object = script.run(pinned, keys, args)
    except redis.ResponseError:
        raise
    except _LOST as error:
        raise UnknownOutcomeError("Redis stopped responding before it replied") from error
    if reply == _UNMET:
        raise PreconditionFailedError("the token was changed in the meantime; nothing was changed")
    if reply not in (0, 1) and not isinstance(reply, list):
        raise UnknownOutcomeError("Redis sent an invalid reply")
    return reply


def _ask_in_time(pinned: Any) -> Durability:
    """Return the durability of a change; a missing reply is not a failure, because the change is done."""
    try:
        return _ask(pinned, _WAIT_MS)
    except (*_LOST, TypeError, ValueError):
        return Durability.UNCONFIRMED


def _ask(client: Any, wait_ms: int) -> Durability:
    try:
        on_disk, _ = client.execute_command("WAITAOF", 1, 0, wait_ms)
    except redis.ResponseError:
        return _check_config(client)
    return Durability.CONFIRMED if on_disk else Durability.UNCONFIRMED


def _check_config(client: Any) -> Durability:
    """Return the durability on a server that refused WAITAOF."""
    try:
        file = client.info("persistence")
        if not file["aof_enabled"]:
            return Durability.NO_FILE
        if not _syncs_first(client):
            return Durability.UNTOLD
    except (redis.ResponseError, KeyError):
        return Durability.UNTOLD
    # The file that is being rewritten may be the first one, which protects nothing until it is complete.
    is_rewriting = file.get("aof_rewrite_in_progress") or file.get("aof_rewrite_scheduled")
    return Durability.UNCONFIRMED if is_rewriting else Durability.CONFIRMED


def _syncs_first(client: Any) -> bool:
    """Tell whether the server syncs before it replies, so that every change it has replied to is on disk."""
    config = client.config_get("*appendfsync*")
    return (config["appendfsync"], config["no-appendfsync-on-rewrite"]) == ("always", "no")
