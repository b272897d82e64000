"""One connection of the express lane (docs/decisions/0014)."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from gevent import get_hub, socket
from gevent.monkey import get_original

from app.worker.heads import duplicate

_READABLE = 1  # libev's EV_READ
# gevent's own defers it, with an event and a watcher, in case the descriptor is still watched.
_close: Callable[[int], None] = get_original("os", "close")


class Connection:
    """A file descriptor that does not block; *listener* names the socket that accepted it.

    It is no socket object, because creating one takes system calls. *address* is the client's. ``unread``
    holds what has arrived of an incomplete request.
    """

    __slots__ = ("_discard", "address", "descriptor", "listener", "unread", "watcher")

    def __init__(
        self, listener: Any, descriptor: int, address: Any, discard: Callable[[Connection], None]
    ) -> None:
        self._discard = discard
        self.listener = listener
        self.descriptor = descriptor
        self.address = address
        self.unread: bytes | bytearray = b""
        self.watcher: Any = None

    @property
    def peer(self) -> str:
        """Return the client's IP address, or "" on a Unix socket."""
        return self.address[0] if isinstance(self.address, tuple) else ""

    def read(self, size: int) -> bytes:
        """Return what has arrived, at most *size* bytes; raises BlockingIOError if nothing has."""
        return os.read(self.descriptor, size)

    def send(self, data: bytes, timeout_s: float) -> None:
        """Send *data*, nearly always in one system call; raises TimeoutError if the client stalls."""
        try:
            sent = os.write(self.descriptor, data)
        except BlockingIOError:
            sent = 0
        if sent < len(data):
            with duplicate(self.descriptor) as blocking:
                blocking.settimeout(timeout_s)
                blocking.sendall(data[sent:])

    def keep_unread(self, data: bytes) -> None:
        """Add *data* to what has arrived of an incomplete request."""
        if self.unread:
            self.unread += data
        else:
            self.unread = bytearray(data)

    def watch(self, when_readable: Callable[[Connection], None]) -> None:
        """Call *when_readable* whenever there is something to read, until ``pause``."""
        if self.watcher is None:
            self.watcher = get_hub().loop.io(self.descriptor, _READABLE)
        if not self.watcher.active:
            self.watcher.start(when_readable, self)

    def pause(self) -> None:
        """Stop watching until ``watch``."""
        self.watcher.stop()

    def detach(self) -> socket.socket:
        """Stop watching the connection, and return it as one of gevent's sockets."""
        self._end_watch()
        return socket.socket(fileno=self.descriptor)

    def attach(self, client: socket.socket) -> None:
        """Take back a socket that was detached."""
        self.descriptor = client.detach()

    def close(self) -> None:
        """Close the descriptor."""
        self._end_watch()
        _close(self.descriptor)

    def evict(self) -> None:
        """Close the connection while it waits, to free memory."""
        self._discard(self)

    def _end_watch(self) -> None:
        if self.watcher is not None:
            self.watcher.close()
            self.watcher = None
