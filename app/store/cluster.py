"""A client for a Redis Cluster that does as redis.Redis does, as far as the store needs it.

redis-py's own connects when it is made, waits and tries again by itself, and gives a command minutes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

import redis
from redis.commands import CoreCommands
from redis.exceptions import AskError, TryAgainError

from app.core.addresses import Address
from app.store.crowd import at_once
from app.store.keys import record
from app.store.pipeline import Pipeline
from app.store.slots import Slots, slot_of

T = TypeVar("T")
_Commands: Any = CoreCommands  # whose types demand a whole client
_NODES_IN_CURSOR = 1024
_KEYLESS = {"INFO", "TIME", "WAIT", "WAITAOF"}


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
        key = _key_of(args)
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

    def ping(self) -> bool:
        """Tell that all slots are served; raises redis.RedisError otherwise."""
        for answer in at_once([partial(self._state, address) for address in self.slots.primaries()]):
            if isinstance(answer, Exception):
                self.slots.doubt()
                raise answer
            if answer.get("cluster_state") != "ok":
                raise redis.ConnectionError("the Cluster does not serve all slots")
        return True

    def dbsize(self) -> int:
        """Return how many keys all nodes hold."""
        return sum(self.at(address).dbsize() for address in self.slots.primaries())

    def scan(self, cursor: int = 0, **options: Any) -> tuple[int, list[bytes]]:
        """Go on through the keys of a node, and of the next if it ends; the cursor tells the node too."""
        inner, first = divmod(cursor, _NODES_IN_CURSOR)
        names: list[bytes] = []
        for number, address in list(enumerate(self.slots.primaries()))[first:]:
            inner, found = self.at(address).scan(inner, **options)
            names += found
            if inner:
                return inner * _NODES_IN_CURSOR + number, names
        return 0, names

    def _state(self, address: Address) -> Any:
        return self.at(address).execute_command("CLUSTER INFO")


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

    def execute(self) -> list[Any]:
        """Send all and return their replies; raises the first error."""
        slots = self._slots()
        if not self._is_transaction:
            return self._spread(slots)
        numbers = range(len(self._commands))
        return self._cluster.slots.route(
            slots[0], lambda address: self._send(address, numbers, transaction=True), _not_while_moving
        )

    def _slots(self) -> list[int]:
        slots = [0]
        for args, _ in self._commands:
            key = _key_of(args)
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
        if isinstance(reply, Exception):
            raise reply
        return reply


class ClusterLine:
    """Sends EVALSHA and EVAL as Pipeline does, over one shared connection to each node."""

    def __init__(self, cluster: Cluster, open_line: Callable[[Address], Pipeline]) -> None:
        self._cluster = cluster
        self._open_line = open_line
        self._lines: dict[Address, Pipeline] = {}

    def evalsha(self, *args: str | int) -> Any:
        """Run a script that the node knows; raises redis.ResponseError, NoScriptError among them."""
        return self._route(args, "EVALSHA", lambda address: self._line(address).evalsha(*args))

    def eval(self, *args: str | int) -> Any:
        """Run a script by its source; raises redis.ResponseError."""
        return self._route(args, "EVAL", lambda address: self._line(address).eval(*args))

    def close(self) -> None:
        """Let all connections go, and whoever waits on them."""
        for line in self._lines.values():
            line.close()

    def _route(self, args: Sequence[str | int], verb: str, send: Callable[[Address], Any]) -> Any:
        _, _, key, *_ = args
        return self._cluster.slots.route(
            slot_of(str(key)), send, lambda address: self._cluster.ask(address, verb, *args)
        )

    def _line(self, address: Address) -> Pipeline:
        if address not in self._lines:
            self._lines[address] = self._open_line(address)
        return self._lines[address]


def _not_while_moving(_: Address) -> Any:
    """Wait: each command of a transaction would have to ask for itself."""
    raise TryAgainError


def _key_of(args: Sequence[Any]) -> Any:
    if args[0] in {"EVAL", "EVALSHA"}:
        return args[3] if int(args[2]) else None
    return None if args[0] in _KEYLESS else args[1]


Client = redis.Redis | Cluster


def at_home(client: Client, key: str, do: Callable[[Any], T]) -> T:
    """Return what *do* gets from the client of the one server that holds *key*."""
    if not isinstance(client, Cluster):
        return do(client)
    slots: Slots = client.slots
    answer: T = slots.route(slot_of(key), lambda address: do(client.at(address)), _not_while_moving)
    return answer


def homes(client: Client, digests: Sequence[str]) -> Iterator[tuple[Any, Sequence[str]]]:
    """Yield the client of each server that holds records of *digests*, with those whose records it holds."""
    if not isinstance(client, Cluster):
        yield client, digests
        return
    held: dict[Address, list[str]] = {}
    for digest in digests:
        held.setdefault(client.slots.owner(slot_of(record(digest))), []).append(digest)
    yield from ((client.at(address), some) for address, some in held.items())
