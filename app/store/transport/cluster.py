"""A client for a Redis Cluster that does as redis.Redis does, as far as the store needs it.

redis-py's own connects when it is made, waits and tries again by itself, and gives a command minutes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

import redis
from redis.commands import CoreCommands
from redis.exceptions import AskError, TryAgainError

from app.redis_url import Address
from app.store.keys import record
from app.store.transport.slots import Slots, slot_of

_Commands: Any = CoreCommands  # whose types demand a whole client
_NODES_IN_CURSOR = 1024
_KEYLESS = {"CLIENT ID", "CONFIG GET", "INFO", "TIME", "WAIT", "WAITAOF"}


class Cluster(_Commands):  # type: ignore[misc]
    """Sends each command to the node of its key; *make* makes the client of one node."""

    def __init__(self, slots: Slots, make: Callable[[Address], redis.Redis]) -> None:
        self.slots = slots
        self._make = make
        self._clients: dict[Address, Any] = {}

    def at(self, address: Address) -> Any:
        """Return the client of one node."""
        if address not in self._clients:
            self._clients[address] = self._make(address)
        return self._clients[address]

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send one command; without a key, to any node."""
        key = key_of(args)
        return self.slots.route(
            0 if key is None else slot_of(key),
            lambda address: self.at(address).execute_command(*args, **options),
            lambda address: self.ask(address, *args, **options),
        )

    def ask(self, address: Address, *args: Any, **options: Any) -> Any:
        """Send one command to a node that its key is just moving to."""
        pipe = self.at(address).pipeline(transaction=False)
        pipe.execute_command("ASKING")
        pipe.execute_command(*args, **options)
        _, reply = pipe.execute()
        return reply

    def close(self) -> None:
        """Do nothing: each command takes a connection from a pool that looks whether it is clean."""

    def pipeline(self, *, transaction: bool = True) -> Batch:
        """Return a collector of commands; those of a transaction have one key tag."""
        return Batch(self, transaction=transaction)

    def client(self) -> Pinned:
        """Return a client that stays on one connection, as redis.Redis.client does."""
        return Pinned(self)

    def dbsize(self) -> int:
        """Return how many keys there are on all nodes."""
        return sum(self.at(address).dbsize() for address in self.slots.primaries())

    def scan(self, cursor: int = 0, **options: Any) -> tuple[int, list[bytes]]:
        """Go on through the keys of a node, and of the next if it ends; the cursor tells the node too."""
        inner, first = divmod(int(cursor), _NODES_IN_CURSOR)
        names: list[bytes] = []
        for number, address in list(enumerate(self.slots.primaries()))[first:]:
            inner, found = self.at(address).scan(inner, **options)
            names += found
            if inner:
                return inner * _NODES_IN_CURSOR + number, names
        return 0, names


class Pinned(_Commands):  # type: ignore[misc]
    """Sends commands without a key over the connection that took the last one with a key, say WAITAOF."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._own: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._own:
            self._own.close()

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send one command; the first one has a key."""
        key = key_of(args)
        if key is None:
            return self._own.execute_command(*args, **options)
        return self._cluster.slots.route(
            slot_of(key),
            lambda address: self._pin(address).execute_command(*args, **options),
            lambda address: self._ask(address, *args, **options),
        )

    def _ask(self, address: Address, *args: Any, **options: Any) -> Any:
        own = self._pin(address)
        own.execute_command("ASKING")
        return own.execute_command(*args, **options)

    def _pin(self, address: Address) -> Any:
        if self._own:
            self._own.close()
        self._own = self._cluster.at(address).client()
        return self._own


class Batch(_Commands):  # type: ignore[misc]
    """Commands that go out together, one write to each node; in a transaction all or none is done."""

    def __init__(self, cluster: Cluster, *, transaction: bool) -> None:
        self._cluster = cluster
        self._is_transaction = transaction
        self._commands: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def execute_command(self, *args: Any, **options: Any) -> Batch:
        """Collect one command; without a key, it goes where the one before it goes."""
        self._commands.append((args, options))
        return self

    def execute(self, *, raise_on_error: bool = True) -> list[Any]:
        """Send all and return their replies; raises the first error, or returns errors among them."""
        slots = self._slots()
        if not self._is_transaction:
            replies = self._spread(slots)
            if raise_on_error and (errors := [reply for reply in replies if isinstance(reply, Exception)]):
                raise errors[0]
            return replies
        numbers = range(len(self._commands))
        return self._cluster.slots.route(
            slots[0], lambda address: self._send(address, numbers, transaction=True), _not_while_moving
        )

    def _slots(self) -> list[int]:
        slots = [0]
        for args, _ in self._commands:
            key = key_of(args)
            slots.append(slots[-1] if key is None else slot_of(key))
        return slots[1:]

    def _spread(self, slots: Sequence[int]) -> list[Any]:
        numbers_at: dict[Address, list[int]] = {}
        for number, slot in enumerate(slots):
            numbers_at.setdefault(self._cluster.slots.owner(slot), []).append(number)
        replies: dict[int, Any] = {}
        for address, numbers in numbers_at.items():
            with self._cluster.slots.doubted_on_failure():
                replies |= zip(numbers, self._send(address, numbers, transaction=False), strict=True)
        return [self._settled(number, replies[number]) for number in range(len(slots))]

    def _send(self, address: Address, numbers: Sequence[int], *, transaction: bool) -> list[Any]:
        pipe = self._cluster.at(address).pipeline(transaction=transaction)
        for number in numbers:
            args, options = self._commands[number]
            pipe.execute_command(*args, **options)
        replies: list[Any] = pipe.execute(raise_on_error=transaction)
        return replies

    def _settled(self, number: int, reply: Any) -> Any:
        """Return *reply*, after all from another node if it is but a redirection."""
        if isinstance(reply, AskError | TryAgainError):
            args, options = self._commands[number]
            return self._cluster.execute_command(*args, **options)
        return reply


def _not_while_moving(_: Address) -> Any:
    """Wait: each command of a transaction would have to ask for itself."""
    raise TryAgainError


def key_of(args: Sequence[Any]) -> Any:
    """Return the first key of a command, None if it has none."""
    if args[0] in {"EVAL", "EVALSHA"}:
        return args[3] if int(args[2]) else None
    return None if args[0] in _KEYLESS else args[1]


Client = redis.Redis | Cluster


def homes(client: Client, digests: Sequence[str]) -> Iterator[tuple[Any, Sequence[str]]]:
    """Yield the client of each server that holds records of *digests*, with those whose records it holds."""
    if not isinstance(client, Cluster):
        yield client, digests
        return
    held: dict[Address, list[str]] = {}
    for digest in digests:
        held.setdefault(client.slots.owner(slot_of(record(digest))), []).append(digest)
    yield from ((client.at(address), some) for address, some in held.items())
