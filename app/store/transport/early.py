"""Send commands to a server, and read the replies later: meanwhile the server and the caller both work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import redis

from app.store.transport.cluster import Client, Cluster

Command = Sequence[Any]


def send(client: Client, commands: Sequence[Command]) -> Callable[[], list[Any]]:
    """Send *commands*; return the function that returns the replies, errors among them.

    A Cluster may redirect any command to another node, so its replies are read at once.
    """
    if isinstance(client, Cluster):
        batch = client.pipeline(transaction=False)
        for command in commands:
            batch.execute_command(*command)
        replies = batch.execute(raise_on_error=False)
        return lambda: replies
    return _Sent(client, commands).read


class _Sent:
    """Commands on a connection of their own; if one fails, it is closed, because replies may be unread."""

    def __init__(self, client: redis.Redis, commands: Sequence[Command]) -> None:
        self._pool: Any = client.connection_pool
        self._count = len(commands)
        self._connection: Any = self._pool.get_connection()
        self._close_on_failure(
            lambda: self._connection.send_packed_command(self._connection.pack_commands(commands))
        )

    def read(self) -> list[Any]:
        """Read all replies, and return the connection to its pool."""
        replies: list[Any] = self._close_on_failure(lambda: [self._reply() for _ in range(self._count)])
        self._pool.release(self._connection)
        return replies

    def _reply(self) -> Any:
        try:
            return self._connection.read_response()
        except redis.ResponseError as error:
            return error

    def _close_on_failure(self, step: Callable[[], Any]) -> Any:
        try:
            return step()
        except BaseException:
            self._connection.disconnect()
            self._pool.release(self._connection)
            raise
