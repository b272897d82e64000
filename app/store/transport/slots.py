"""Which node of a Redis Cluster serves a slot, and what to do when it does not any more."""

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
from app.store.keys import record
from app.store.transport.background import Shared
from app.store.transport.deadlines import StillConnectingError
from app.store.transport.fanout import at_once

T = TypeVar("T")
_LOOK_S = 0.1
_PAUSE_S = 0.02
_MOST_TRIES = 200  # more than fit in any deadline

Owners = list[Address | None]


def slot_of(key: str | bytes) -> int:
    """Return the slot of *key*."""
    return key_slot(key.encode() if isinstance(key, str) else key)


class Slots:
    """The owners of the slots as a node told them; *make* makes a connection to a node.

    Looked up when first needed and again, ten times a second at most, after what puts them in doubt. Whoever
    needs them meanwhile waits for the one that looks.
    """

    def __init__(self, nodes: Sequence[Address], make: Callable[[Address], Any]) -> None:
        self._nodes = set(nodes)
        self._make = make
        self._owners: Owners = []
        self._is_doubted = True
        self._looked_at = float("-inf")
        self._lock = threading.Lock()
        self._looking = Shared(self._look)

    def owner(self, slot: int) -> Address:
        """Return the node that serves *slot*; raises redis.ConnectionError if there is none."""
        owner = self._certain()[slot]
        if owner is None:
            self.doubt()
            raise redis.ConnectionError(f"no node serves slot {slot}")
        return owner

    def primaries(self) -> list[Address]:
        """Return every node that serves slots."""
        return sorted({owner for owner in self._certain() if owner})

    def one_of_each(self, names: Iterator[str]) -> Iterator[str]:
        """Yield some of *names*, digests without end: for each primary one whose record it serves."""
        owners = self._certain()
        if None in owners:
            self.doubt()
            raise redis.ConnectionError("the Cluster does not serve all slots")
        missing = set(owners)
        while missing:
            name = next(names)
            if (owner := owners[slot_of(record(name))]) in missing:
                missing.remove(owner)
                yield name

    def doubt(self) -> None:
        """Look again before the next use."""
        if time.monotonic() > self._looked_at + _LOOK_S:
            self._is_doubted = True

    @contextmanager
    def doubted_on_failure(self) -> Iterator[None]:
        """Have a node that is lost, slow or cut off put the owners in doubt."""
        try:
            yield
        except StillConnectingError:
            raise
        except (redis.ConnectionError, redis.TimeoutError, ClusterDownError, gevent.Timeout):
            self.doubt()
            raise

    def route(self, slot: int, send: Callable[[Address], T], ask: Callable[[Address], T]) -> T:
        """Return what *send* gets from the owner of *slot*, or *ask* from the node that it moves to.

        Nothing was done yet when a node redirects or says TRYAGAIN, which it does for keys of which some have
        moved; their slot is one of few for which this waits, until the caller's deadline.
        """
        address = self.owner(slot)
        with self.doubted_on_failure():
            for _ in range(_MOST_TRIES):
                try:
                    return _redirected(address, send, ask)
                except MovedError as error:
                    address = self._moved(error, address)
                except (AskError, TryAgainError):
                    gevent.sleep(_PAUSE_S)
        raise redis.ConnectionError(f"slot {slot} does not settle")

    def _moved(self, error: MovedError, asked: Address) -> Address:
        owner = Address(error.host or asked.host, error.port)
        self._owners[error.slot_id] = owner
        self.doubt()
        return owner

    def _certain(self) -> Owners:
        if self._is_doubted:
            self._looking()
        return self._owners

    def _look(self) -> None:
        with self._lock:
            if self._is_doubted:
                self._take_first()

    def _take_first(self) -> None:
        trouble: Any = None
        for answer in at_once([partial(self._ask, node) for node in self._nodes]):
            if isinstance(answer, Exception):
                trouble = answer
                continue
            owners, nodes = answer
            self._owners, self._nodes = owners, self._nodes | nodes
            self._is_doubted, self._looked_at = False, time.monotonic()
            return
        raise redis.ConnectionError(f"no node of the Cluster answers: {trouble}")

    def _ask(self, node: Address) -> tuple[Owners, set[Address]]:
        connection = self._make(node)
        try:
            connection.connect()
            connection.send_command("CLUSTER", "SLOTS")
            return _owners(connection.read_response(), node)
        finally:
            connection.disconnect()


def _redirected(address: Address, send: Callable[[Address], T], ask: Callable[[Address], T]) -> T:
    try:
        return send(address)
    except MovedError:
        raise
    except AskError as error:
        target = Address(error.host or address.host, error.port)
    return ask(target)


def _owners(ranges: Sequence[Any], asked: Address) -> tuple[Owners, set[Address]]:
    """Return the owner of each slot and all nodes; a node that does not know its own name leaves it out."""
    owners: Owners = [None] * REDIS_CLUSTER_HASH_SLOTS
    nodes: set[Address] = set()
    for first, last, *members in ranges:
        places = [Address((host or b"").decode() or asked.host, port) for host, port, *_ in members]
        owners[first : last + 1] = [places[0]] * (last + 1 - first)
        nodes.update(places)
    return owners, nodes
