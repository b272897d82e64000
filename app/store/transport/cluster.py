"""A client for a Redis Cluster with the part of redis.Redis's interface that the store needs.

redis-py's own client connects in its constructor, sleeps and retries on its own, and may spend minutes on one
command. See docs/decisions/0009.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

import redis
from redis.commands import CoreCommands
from redis.exceptions import AskError, TryAgainError

from app.redis_url import Address
from app.store.transport.slots import Slots, slot_of

_Commands: Any = CoreCommands  # whose types demand a whole client
_MAX_NODES = 1024
_KEYLESS = {"CLIENT ID", "CONFIG GET", "INFO", "TIME", "WAIT", "WAITAOF"}


class Cluster(_Commands):  # type: ignore[misc]
    """Sends each command to the node that serves its key; *make_client* returns a client of one node."""

    def __init__(self, slots: Slots, make_client: Callable[[Address], redis.Redis]) -> None:
        self.slots = slots
        self._make_client = make_client
        self._clients: dict[Address, Any] = {}

    def at(self, address: Address) -> Any:
        """Return the client of one node."""
        if address not in self._clients:
            self._clients[address] = self._make_client(address)
        return self._clients[address]

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send one command and return its reply; a command without a key goes to any node."""
        key = key_of(args)
        return self.slots.route(
            0 if key is None else slot_of(key),
            lambda address: self.at(address).execute_command(*args, **options),
            lambda address: self.ask(address, *args, **options),
        )

    def ask(self, address: Address, *args: Any, **options: Any) -> Any:
        """Send one command to the node that the slot of its key is moving to."""
        pipe = self.at(address).pipeline(transaction=False)
        pipe.execute_command("ASKING")
        pipe.execute_command(*args, **options)
        _, reply = pipe.execute()
        return reply

    def close(self) -> None:
        """Close the connections to all nodes; the next command opens a new one."""
        for client in self._clients.values():
            client.close()

    def pipeline(self, *, transaction: bool = True) -> Batch:
        """Return a batch of commands; the keys of a transaction must share a hash tag."""
        return Batch(self, transaction=transaction)

    def client(self) -> Pinned:
        """Return a client that stays on one connection, as redis.Redis.client does."""
        return Pinned(self)

    def dbsize(self) -> int:
        """Return the number of keys on all nodes."""
        return sum(self.at(address).dbsize() for address in self.slots.primaries())

    def scan(self, cursor: int = 0, **options: Any) -> tuple[int, list[bytes]]:
        """Continue the SCAN of a node, or of the next node; the cursor includes the number of the node."""
        inner, first = divmod(int(cursor), _MAX_NODES)
        names: list[bytes] = []
        for number, address in list(enumerate(self.slots.primaries()))[first:]:
            inner, found = self.at(address).scan(inner, **options)
            names += found
            if inner:
                return inner * _MAX_NODES + number, names
        return 0, names


class Pinned(_Commands):  # type: ignore[misc]
    """Sends a command without a key, such as WAITAOF, over the connection of the last command with a key."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._client: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._client:
            self._client.close()

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send one command and return its reply; the first command must have a key."""
        key = key_of(args)
        if key is None:
            return self._client.execute_command(*args, **options)
        return self._cluster.slots.route(
            slot_of(key),
            lambda address: self._pin(address).execute_command(*args, **options),
            lambda address: self._ask(address, *args, **options),
        )

    def _ask(self, address: Address, *args: Any, **options: Any) -> Any:
        client = self._pin(address)
        client.execute_command("ASKING")
        return client.execute_command(*args, **options)

    def _pin(self, address: Address) -> Any:
        if self._client:
            self._client.close()
        self._client = self._cluster.at(address).client()
        return self._client


class Batch(_Commands):  # type: ignore[misc]
    """Commands that are sent together, in one write to each node; a transaction executes all or none."""

    def __init__(self, cluster: Cluster, *, transaction: bool) -> None:
        self._cluster = cluster
        self._is_transaction = transaction
        self._commands: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def execute_command(self, *args: Any, **options: Any) -> Batch:
        """Add one command; a command without a key goes to the node of the command before it."""
        self._commands.append((args, options))
        return self

    def execute(self, *, raise_on_error: bool = True) -> list[Any]:
        """Send all commands and return their replies; errors are raised, or returned among the replies."""
        slots = self._slots()
        if not self._is_transaction:
            replies = self._send_to_nodes(slots)
            if raise_on_error and (errors := [reply for reply in replies if isinstance(reply, Exception)]):
                raise errors[0]
            return replies
        numbers = range(len(self._commands))
        return self._cluster.slots.route(
            slots[0], lambda address: self._send(address, numbers, transaction=True), _refuse_while_moving
        )

    def _slots(self) -> list[int]:
        slots = [0]
        for args, _ in self._commands:
            key = key_of(args)
            slots.append(slots[-1] if key is None else slot_of(key))
        return slots[1:]

    def _send_to_nodes(self, slots: Sequence[int]) -> list[Any]:
        numbers_at: dict[Address, list[int]] = {}
        for number, slot in enumerate(slots):
            numbers_at.setdefault(self._cluster.slots.owner(slot), []).append(number)
        replies: dict[int, Any] = {}
        for address, numbers in numbers_at.items():
            with self._cluster.slots.stale_on_failure():
                replies |= zip(numbers, self._send(address, numbers, transaction=False), strict=True)
        return [self._follow_redirection(number, replies[number]) for number in range(len(slots))]

    def _send(self, address: Address, numbers: Sequence[int], *, transaction: bool) -> list[Any]:
        pipe = self._cluster.at(address).pipeline(transaction=transaction)
        for number in numbers:
            args, options = self._commands[number]
            pipe.execute_command(*args, **options)
        replies: list[Any] = pipe.execute(raise_on_error=transaction)
        return replies

    def _follow_redirection(self, number: int, reply: Any) -> Any:
        """Return *reply*, or if that is a redirection the reply of the node that it names."""
        if isinstance(reply, AskError | TryAgainError):
            args, options = self._commands[number]
            return self._cluster.execute_command(*args, **options)
        return reply


def _refuse_while_moving(_: Address) -> Any:
    """Raise TryAgainError, because ASKING covers a single command and not a transaction."""
    raise TryAgainError


def key_of(args: Sequence[Any]) -> Any:
    """Return the first key of a command, or None if it has no key."""
    if args[0] in {"EVAL", "EVALSHA"}:
        return args[3] if int(args[2]) else None
    return None if args[0] in _KEYLESS else args[1]


Client = redis.Redis | Cluster


def by_server(
    client: Client, names: Sequence[str], key: Callable[[str], str]
) -> Iterator[tuple[Any, Sequence[str]]]:
    """Yield the client of each server that serves any key of *names*, with the names that it serves."""
    if not isinstance(client, Cluster):
        yield client, names
        return
    groups: dict[Address, list[str]] = {}
    for name in names:
        groups.setdefault(client.slots.owner(slot_of(key(name))), []).append(name)
    yield from ((client.at(address), group) for address, group in groups.items())
