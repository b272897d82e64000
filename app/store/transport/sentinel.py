"""The primary that the sentinels name, asked for anew by each connection.

The sentinels are asked twice a second besides: in a failover that an operator asks for, the old primary lives
on and takes writes, all of them lost, until a sentinel finds the time to tell it.
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any
from weakref import WeakSet

import gevent
import redis
from gevent import monkey

from app.redis_url import Address
from app.store.transport.deadlines import is_no_primary
from app.store.transport.fanout import at_once

_WATCH_S = 0.5
_SPARE_S = 0.1


class Sentinels:
    """Some sentinels of one service; *make* makes a connection to one of them."""

    def __init__(self, addresses: Sequence[Address], service: str, make: Callable[[Address], Any]) -> None:
        self._addresses = addresses
        self._service = service
        self._make = make
        self._connections: WeakSet[PrimaryConnection] = WeakSet()
        self._watcher: Any = None

    def primaries(self) -> list[Address]:
        """Return who is said to be the primary, the most named first; a majority does not wait for the rest.

        Raises redis.ConnectionError if nobody is named.
        """
        votes: Counter[Address] = Counter()
        trouble: Any = None
        for answer in at_once([partial(self._ask, address) for address in self._addresses], _SPARE_S):
            if not isinstance(answer, Address):
                trouble = answer
                continue
            votes[answer] += 1
            if votes[answer] * 2 > len(self._addresses):
                break
        if not votes:
            raise redis.ConnectionError(f"no sentinel names a primary of {self._service!r}: {trouble}")
        return [address for address, _ in votes.most_common()]

    def watch(self, connection: PrimaryConnection) -> None:
        """Cut *connection* when the sentinels name another primary; nobody watches outside of a worker."""
        self._connections.add(connection)
        if not self._watcher and monkey.is_module_patched("socket"):
            self._watcher = gevent.spawn(self._watch)

    def _watch(self) -> None:
        while True:
            gevent.sleep(_WATCH_S)
            with suppress(redis.ConnectionError):
                self._cut_all_but(self.primaries()[0])

    def _cut_all_but(self, primary: Address) -> None:
        for connection in list(self._connections):
            if (connection.host, connection.port) != primary:
                connection.cut()

    def _ask(self, address: Address) -> Address:
        connection = self._make(address)
        try:
            connection.connect()
            connection.send_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._service)
            named = connection.read_response()
        finally:
            connection.disconnect()
        if named is None:
            raise redis.ResponseError(f"{address.host}:{address.port} knows no such service")
        return Address(named[0].decode(), int(named[1]))


class PrimaryConnection(redis.Connection):
    """A connection to whoever is the primary when it is made."""

    def __init__(self, *, sentinels: Sentinels, **options: Any) -> None:
        self._sentinels = sentinels
        super().__init__(**options)  # type: ignore[no-untyped-call]

    def connect_check_health(self, *args: Any, **options: Any) -> None:
        """Connect to the first of those named that says itself that it is the primary."""
        if self.is_connected:
            return
        trouble: Exception | None = None
        for address in self._sentinels.primaries():
            self.host, self.port = address
            try:
                super().connect_check_health(*args, **options)
            except redis.ConnectionError as error:
                trouble = error
            else:
                return
        raise trouble or redis.ConnectionError("no primary")

    def on_connect_check_health(self, *args: Any, **options: Any) -> None:
        """Sign in, and believe no sentinel alone: an old primary comes back as a replica."""
        super().on_connect_check_health(*args, **options)
        self.send_command("ROLE")  # type: ignore[no-untyped-call]
        role, *_ = self.read_response()
        if role != b"master":
            raise redis.ConnectionError(f"{self.host}:{self.port} is no primary")
        self._sentinels.watch(self)

    def cut(self) -> None:
        """End the connection so that whoever uses it notices, and the next to use it connects anew."""
        opened: Any = self._sock
        if opened:
            with suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)

    def read_response(self, *args: Any, **options: Any) -> Any:
        """Read an answer; a server that is no primary any more has given its last one."""
        try:
            return super().read_response(*args, **options)
        except redis.ResponseError as error:
            if is_no_primary(error):
                self.mark_for_reconnect()  # type: ignore[no-untyped-call]
            raise


class PrimarySSLConnection(PrimaryConnection, redis.SSLConnection):
    """The same over TLS."""
