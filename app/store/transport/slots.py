"""The map from the slots of a Redis Cluster to its nodes, and redirections (docs/decisions/0009)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import gevent
import redis
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot
from redis.exceptions import AskError, ClusterDownError, MovedError, TryAgainError

from app.redis_url import Address
from app.store.transport.background import SingleFlight
from app.store.transport.deadlines import StillConnectingError
from app.store.transport.fanout import fan_out

SLOTS = REDIS_CLUSTER_HASH_SLOTS
T = TypeVar("T")
_MIN_REFRESH_INTERVAL_S = 0.1
_RETRY_PAUSE_S = 0.02
_MAX_TRIES = 200  # more than fit in any deadline

Owners = list[Address | None]


def slot_of(key: str | bytes) -> int:
    """Return the slot of *key*."""
    return key_slot(key.encode() if isinstance(key, str) else key)


class Slots:
    """Holds the owner of each slot, as CLUSTER SLOTS reports it; *make_connection* connects to a node.

    The map is loaded at its first use, and again, at most ten times a second, after an error that suggests
    that it is stale. Callers that need it meanwhile wait for that one load.
    """

    def __init__(
        self, nodes: Sequence[Address], make_connection: Callable[[Address], Any], *, concurrent: bool
    ) -> None:
        self._nodes = set(nodes)
        self._make_connection = make_connection
        self._owners: Owners = []
        self._is_stale = True
        self._loaded_at = float("-inf")
        self._lock = threading.Lock()
        self._refresh = SingleFlight(self._load_if_stale, concurrent=concurrent)

    def owner(self, slot: int) -> Address:
        """Return the node that serves *slot*; raises redis.ConnectionError if there is none."""
        owner = self._fresh_owners()[slot]
        if owner is None:
            self.mark_stale()
            raise redis.ConnectionError(f"no node serves slot {slot}")
        return owner

    def primaries(self) -> list[Address]:
        """Return every node that serves slots."""
        return sorted({owner for owner in self._fresh_owners() if owner})

    def one_per_primary(self, names: Iterator[str], key: Callable[[str], str]) -> Iterator[str]:
        """Yield one of the endless *names* for each primary, one whose key that primary serves.

        Raises redis.ConnectionError if any slot has no owner.
        """
        owners = self._fresh_owners()
        if None in owners:
            self.mark_stale()
            raise redis.ConnectionError("the Cluster does not serve all slots")
        missing = set(owners)
        while missing:
            name = next(names)
            if (owner := owners[slot_of(key(name))]) in missing:
                missing.remove(owner)
                yield name

    def mark_stale(self) -> None:
        """Load the map again before its next use, unless it was loaded a moment ago."""
        if time.monotonic() > self._loaded_at + _MIN_REFRESH_INTERVAL_S:
            self._is_stale = True

    @contextmanager
    def stale_on_failure(self) -> Iterator[None]:
        """Mark the map as stale if a node is lost, times out or reports that the Cluster is down."""
        try:
            yield
        except StillConnectingError:
            raise
        except (redis.ConnectionError, redis.TimeoutError, ClusterDownError, gevent.Timeout):
            self.mark_stale()
            raise

    def route(self, slot: int, send: Callable[[Address], T], ask: Callable[[Address], T]) -> T:
        """Return the result of *send* on the owner of *slot*, or of *ask* on the node that the slot moves to.

        A node that redirects a command or answers TRYAGAIN has not executed it, so it is safe to repeat. A
        node answers TRYAGAIN while only some of a command's keys have moved; this waits for the rest, until
        the caller's deadline. Raises redis.ConnectionError if the slot does not settle.
        """
        address = self.owner(slot)
        with self.stale_on_failure():
            for _ in range(_MAX_TRIES):
                try:
                    return _send_or_ask(address, send, ask)
                except MovedError as error:
                    address = self._update_owner(error, address)
                except (AskError, TryAgainError):
                    gevent.sleep(_RETRY_PAUSE_S)
        raise redis.ConnectionError(f"slot {slot} does not settle")

    def _update_owner(self, error: MovedError, sender: Address) -> Address:
        owner = Address(error.host or sender.host, error.port)
        self._owners[error.slot_id] = owner
        self.mark_stale()
        return owner

    def _fresh_owners(self) -> Owners:
        if self._is_stale:
            self._refresh()
        return self._owners

    def _load_if_stale(self) -> None:
        with self._lock:
            if self._is_stale:
                self._load()

    def _load(self) -> None:
        failure: Any = None
        for answer in fan_out([partial(self._query, node) for node in self._nodes]):
            if isinstance(answer, Exception):
                failure = answer
                continue
            owners, nodes = answer
            self._owners, self._nodes = owners, self._nodes | nodes
            self._is_stale, self._loaded_at = False, time.monotonic()
            return
        raise redis.ConnectionError(f"no node of the Cluster answers: {failure}")

    def _query(self, node: Address) -> tuple[Owners, set[Address]]:
        connection = self._make_connection(node)
        try:
            connection.connect()
            connection.send_command("CLUSTER", "SLOTS")
            return _parse_owners(connection.read_response(), node)
        finally:
            connection.disconnect()


def _send_or_ask(address: Address, send: Callable[[Address], T], ask: Callable[[Address], T]) -> T:
    try:
        return send(address)
    except MovedError:
        raise
    except AskError as error:
        target = Address(error.host or address.host, error.port)
    return ask(target)


def _parse_owners(ranges: Sequence[Any], sender: Address) -> tuple[Owners, set[Address]]:
    """Return the owner of each slot, and all nodes; a node that does not know its own address omits it."""
    owners: Owners = [None] * REDIS_CLUSTER_HASH_SLOTS
    nodes: set[Address] = set()
    for first, last, *members in ranges:
        addresses = [Address((host or b"").decode() or sender.host, port) for host, port, *_ in members]
        owners[first : last + 1] = [addresses[0]] * (last + 1 - first)
        nodes.update(addresses)
    return owners, nodes
