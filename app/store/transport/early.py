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
    return _sent(client.connection_pool, commands)


def _sent(pool: Any, commands: Sequence[Command]) -> Callable[[], list[Any]]:
    """Send *commands* on a connection of their own, which closes itself if it fails with unread replies."""
    connection = pool.get_connection()
    try:
        connection.send_packed_command(connection.pack_commands(commands))
    except BaseException:
        pool.release(connection)
        raise

    def read() -> list[Any]:
        try:
            return [_reply(connection) for _ in commands]
        finally:
            pool.release(connection)

    return read


def _reply(connection: Any) -> Any:
    try:
        return connection.read_response()
    except redis.ResponseError as error:
        return error
