"""Look up the primary that the sentinels name, for each new connection (docs/decisions/0009).

A worker also polls the sentinels twice a second. In a failover that an operator starts, the old primary stays
up and accepts writes, all of which are lost, until a sentinel makes it a replica.
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

from app.redis_url import Address
from app.store.transport.deadlines import is_no_primary
from app.store.transport.fanout import fan_out

_POLL_S = 0.5
_GRACE_S = 0.1


class Sentinels:
    """The sentinels of one service; *make_connection* returns a connection to one of them.

    Only a *concurrent* client polls them.
    """

    def __init__(
        self,
        addresses: Sequence[Address],
        service: str,
        make_connection: Callable[[Address], Any],
        *,
        concurrent: bool,
    ) -> None:
        self._addresses = addresses
        self._service = service
        self._make_connection = make_connection
        self._concurrent = concurrent
        self._connections: WeakSet[PrimaryConnection] = WeakSet()
        self._poller: Any = None

    def primaries(self) -> list[Address]:
        """Return the addresses that the sentinels name as the primary, the most frequently named first.

        A majority ends the query. Raises redis.ConnectionError if no sentinel names a primary.
        """
        votes: Counter[Address] = Counter()
        failure: Any = None
        for answer in fan_out([partial(self._query, address) for address in self._addresses], _GRACE_S):
            if not isinstance(answer, Address):
                failure = answer
                continue
            votes[answer] += 1
            if votes[answer] * 2 > len(self._addresses):
                break
        if not votes:
            raise redis.ConnectionError(f"no sentinel names a primary of {self._service!r}: {failure}")
        return [address for address, _ in votes.most_common()]

    def failures(self) -> dict[str, str]:
        """Return why a sentinel can't be used, by the address of each such sentinel."""
        return {f"{a.host}:{a.port}": reason for a in self._addresses if (reason := self._failure(a))}

    def _failure(self, address: Address) -> str:
        try:
            self._query(address)
        except (redis.RedisError, OSError) as error:
            return str(error)
        return ""

    def watch(self, connection: PrimaryConnection) -> None:
        """Shut *connection* down as soon as the sentinels name another primary."""
        self._connections.add(connection)
        if self._concurrent and not self._poller:
            self._poller = gevent.spawn(self._poll)

    def _poll(self) -> None:
        while True:
            gevent.sleep(_POLL_S)
            with suppress(redis.ConnectionError):
                self._shut_down_all_except(self.primaries()[0])

    def _shut_down_all_except(self, primary: Address) -> None:
        for connection in list(self._connections):
            if (connection.host, connection.port) != primary:
                connection.shut_down()

    def _query(self, address: Address) -> Address:
        connection = self._make_connection(address)
        try:
            connection.connect()
            connection.send_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._service)
            primary = connection.read_response()
        finally:
            connection.disconnect()
        if primary is None:
            raise redis.ResponseError(f"{address.host}:{address.port} knows no such service")
        return Address(primary[0].decode(), int(primary[1]))


class PrimaryConnection(redis.Connection):
    """A connection to the server that is the primary at the time of connecting."""

    def __init__(self, *, sentinels: Sentinels, **options: Any) -> None:
        self._sentinels = sentinels
        super().__init__(**options)  # type: ignore[no-untyped-call]

    def connect_check_health(self, *args: Any, **options: Any) -> None:
        """Connect to the first of the named servers that reports itself as the primary."""
        if self.is_connected:
            return
        failure: Exception | None = None
        for address in self._sentinels.primaries():
            self.host, self.port = address
            try:
                super().connect_check_health(*args, **options)
            except redis.ConnectionError as error:
                failure = error
            else:
                return
        raise failure or redis.ConnectionError("no primary")

    def on_connect_check_health(self, *args: Any, **options: Any) -> None:
        """Authenticate and check the server's role; raises redis.ConnectionError if it is a replica.

        A sentinel may still name an old primary that has become a replica.
        """
        super().on_connect_check_health(*args, **options)
        self.send_command("ROLE")  # type: ignore[no-untyped-call]
        role, *_ = self.read_response()
        if role != b"master":
            raise redis.ConnectionError(f"{self.host}:{self.port} is not a primary")
        self._sentinels.watch(self)

    def shut_down(self) -> None:
        """Shut the socket down: a command in progress fails, and the next one connects again."""
        opened: Any = self._sock
        if opened:
            with suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)

    def read_response(self, *args: Any, **options: Any) -> Any:
        """Read a reply; do not reuse the connection if the reply says that the server is a replica."""
        try:
            return super().read_response(*args, **options)
        except redis.ResponseError as error:
            if is_no_primary(error):
                self.mark_for_reconnect()  # type: ignore[no-untyped-call]
            raise


class PrimarySSLConnection(PrimaryConnection, redis.SSLConnection):
    """A PrimaryConnection over TLS."""
