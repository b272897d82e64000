"""Limits on request heads, for each connection and for all connections of a worker together.

gunicorn limits the length of a line and the number of lines. With lines as long as proxies send, these limits
alone would let each connection hold 16 MiB. See docs/decisions/0022.
"""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from typing import Any, Protocol

from gevent import socket
from gunicorn.http.errors import LimitRequestHeaders, ParseException

MAX_FIELDS = 300
MAX_HEAD_BYTES = 256 * 1024
MAX_HELD_BYTES = 8 * 1024 * 1024
MAX_ANSWERING_BYTES = 16 * 1024 * 1024

_SMALL_BYTES = 16 * 1024  # heads up to this size are always accepted
_START_BYTES = 64
_READ_BYTES = 65_536  # gunicorn searches everything that it has of a head after each read
_log = logging.getLogger(__name__)


class Holder(Protocol):
    """A connection that holds part of a head."""

    def evict(self) -> None:
        """Close the connection to free its memory."""
        ...


class OverloadedError(ParseException):
    """A large head arrived while the large heads of unanswered requests use all memory for them."""


class Heads:
    """Counts the bytes of incomplete heads by connection, in the order in which the heads began.

    The bytes of large complete heads count separately until their requests are answered, which may take as
    long as Redis does.
    """

    def __init__(
        self, max_bytes: int = MAX_HELD_BYTES, max_answering_bytes: int = MAX_ANSWERING_BYTES
    ) -> None:
        self._max_bytes = max_bytes
        self._max_answering_bytes = max_answering_bytes
        self._held: dict[Holder, int] = {}
        self._total = 0
        self._answering: dict[Holder, int] = {}
        self._answering_total = 0

    @property
    def is_full(self) -> bool:
        """Tell whether no large head may be read before the response to another one is complete."""
        return self._answering_total >= self._max_answering_bytes

    def hold(self, holder: Holder, size: int) -> None:
        """Count *size* bytes for *holder*; above the limit, evict the connections whose heads began first.

        The head of an honest client arrives within milliseconds, so it is not evicted.
        """
        self._total += size - self._held.get(holder, 0)
        self._held[holder] = size
        while self._total > self._max_bytes and (oldest := self._oldest_except(holder)):
            _log.warning("closed the connection with the oldest incomplete request head, to free memory")
            self.release(oldest)
            oldest.evict()

    def begin_response(self, holder: Holder, size: int) -> None:
        """Count the *size* bytes of a complete head until its response is complete."""
        self.release(holder)
        if size > _SMALL_BYTES:
            self._answering[holder] = size
            self._answering_total += size

    def release(self, holder: Holder) -> None:
        """Count nothing for *holder* any more."""
        self._total -= self._held.pop(holder, 0)
        self.end_response(holder)

    def end_response(self, holder: Holder) -> None:
        """Count nothing more for the request of *holder* that is answered."""
        self._answering_total -= self._answering.pop(holder, 0)

    def _oldest_except(self, holder: Holder) -> Holder | None:
        return next((other for other in self._held if other is not holder), None)


class HeadSocket:
    """A client's socket for gunicorn to read from, which limits heads; *read* is what was read before.

    Between ``end_head`` and ``begin_head`` it passes a body on without a limit.
    """

    def __init__(self, client: Any, heads: Heads, read: bytes = b"") -> None:
        self._client = client
        self._heads = heads
        self._read = read
        self._is_evicted = False
        self.is_kept_open = False
        self.begin_head()

    def begin_head(self, ahead: bytes = b"") -> None:
        """Expect the next head, of which *ahead* was read; ``start`` holds its first bytes."""
        self._is_in_head = True
        self._size = len(ahead)
        self.start = ahead[:_START_BYTES]
        self._heads.release(self)
        if ahead:
            self._heads.hold(self, self._size)

    def end_head(self) -> None:
        """Note that the head is complete."""
        self._heads.begin_response(self, self._size + len(self._read))
        self._is_in_head, self._size = False, 0

    def discard(self) -> None:
        """Discard everything that was read, because the connection is about to be closed."""
        self._read, self._is_in_head, self._size = b"", False, 0
        self._heads.release(self)

    def recv(self, size: int) -> bytes:
        """Return at most *size* bytes, or more of a large head; what was read before comes first.

        Raises LimitRequestHeaders and OverloadedError, and StopIteration if the client closes before its head
        is complete. gunicorn's parser raises that before the first byte; later it would raise NoMoreData,
        which writes the head to a debug log.
        """
        if self._size >= MAX_HEAD_BYTES:
            raise LimitRequestHeaders("the head is too large")
        size = min(_READ_BYTES, MAX_HEAD_BYTES - self._size) if self._size else size
        part, self._read = self._read[:size], self._read[size:]
        data: bytes = part or self._client.recv(size)
        if self._is_in_head:
            self._count(data)
        return data

    @property
    def has_unread(self) -> bool:
        """Tell whether ``recv`` still has bytes that were read before."""
        return bool(self._read)

    def evict(self) -> None:
        """Shut down reading: a pending or later ``recv`` ends the connection."""
        self._is_evicted = True
        shutdown_read(self._client.fileno())

    def _count(self, data: bytes) -> None:
        if not data or self._is_evicted:
            raise StopIteration
        self._size += len(data)
        if len(self.start) < _START_BYTES:
            self.start += data[:_START_BYTES]
        if self._size > _SMALL_BYTES and self._heads.is_full:
            raise OverloadedError
        self._heads.hold(self, self._size)

    def keep_open(self) -> None:
        """Leave the connection open for the express lane when gunicorn closes this socket."""
        self.is_kept_open = True

    def close(self) -> None:
        """Close the connection, unless it is kept open."""
        self._heads.release(self)
        if not self.is_kept_open:
            self._client.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)


def shutdown_read(descriptor: int) -> None:
    """Shut down reading on a socket; data that has arrived can still be read.

    This uses a duplicate of the descriptor, because gevent's own shutdown raises an error in a greenlet that
    reads.
    """
    with suppress(OSError), duplicate(descriptor) as same:
        same.shutdown(socket.SHUT_RD)


def duplicate(descriptor: int) -> socket.socket:
    """Return one of gevent's sockets for a duplicate of *descriptor*; raises OSError."""
    return socket.socket(fileno=os.dup(descriptor))
