"""A server that accepts connections without starting a greenlet for each (docs/decisions/0014)."""

from __future__ import annotations

import _socket
from socket import SOCK_STREAM
from typing import Any

from gevent.server import StreamServer

from app.worker.connections import Connection, Connections


class Acceptor(StreamServer):
    """gevent's server without a greenlet for each connection; *name* stands for the listener in gunicorn."""

    def __init__(self, listener: Any, name: Any, connections: Connections) -> None:
        self._name = name
        self._connections = connections
        super().__init__(listener, handle=self.do_handle, spawn=None)
        connections.when_not_full(self.resume)

    def full(self) -> bool:
        """Tell gevent whether to stop accepting until ``resume``."""
        return self._connections.is_full

    def resume(self) -> None:
        """Accept again, unless closed."""
        if self.started:
            self.start_accepting()

    def do_read(self) -> Any:
        """Accept a connection and return its socket and address, or None if none is queued."""
        listener: Any = self.socket
        try:
            descriptor, address = listener._accept()  # noqa: SLF001 - accept() would create a socket.socket
        except BlockingIOError:
            return None
        client = _socket.socket(listener.family, SOCK_STREAM, 0, descriptor)
        client.settimeout(0)
        return client, address

    def do_handle(self, client: Any, address: Any) -> None:
        """Add the connection to the table."""
        self._connections.add(Connection(self._connections, self._name, client, address))
