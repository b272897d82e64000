"""A server that accepts connections without starting a greenlet for each (docs/decisions/0014)."""

from __future__ import annotations

import os
from typing import Any

from gevent.server import StreamServer

from app.worker.connection import Connection
from app.worker.connections import Connections


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
        """Accept a connection and return its file descriptor and address, or None if none is queued."""
        listener: Any = self.socket
        try:
            descriptor, address = listener._accept()  # noqa: SLF001 - accept() would create a socket.socket
        except BlockingIOError:
            return None
        os.set_blocking(descriptor, False)
        return descriptor, address

    def do_handle(self, descriptor: Any, address: Any) -> None:
        """Add the connection to the table."""
        connection = Connection(self._name, descriptor, address, self._connections.discard)
        self._connections.add(connection)
