"""Request heads: bounded for each connection, and for all of a worker together.

gunicorn bounds a line and the number of lines; with lines as long as proxies send, that alone would let each
connection hold 16 MiB.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Any, Protocol

from gevent import socket
from gunicorn.http.errors import LimitRequestHeaders, ParseException

MAX_FIELDS = 300
MAX_HEAD_BYTES = 256 * 1024
MAX_HELD_BYTES = 8 * 1024 * 1024
MAX_ANSWERING_BYTES = 16 * 1024 * 1024

_SMALL_BYTES = 16 * 1024  # all connections together may have such heads
_START_BYTES = 64
_READ_BYTES = 65_536  # gunicorn looks at all that it has of a head after each read
_log = logging.getLogger(__name__)


class Holder(Protocol):
    """A connection that holds part of a head."""

    def give_up(self) -> None:
        """End the connection, and let go what it holds."""
        ...


class OverloadedError(ParseException):
    """A large head, while those of the requests being answered fill their room."""


class Heads:
    """How many bytes each connection holds, in the order in which their heads began.

    Apart from them, what the large ones among the complete hold until they are answered, which may take as
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
        """Tell whether no large head is to be read on before another one is answered."""
        return self._answering_total >= self._max_answering_bytes

    def note(self, holder: Holder, size: int) -> None:
        """Note that *holder* holds *size* bytes now; beyond the bound, those that began first are given up.

        The head of an honest client takes milliseconds to arrive, so it is not among them.
        """
        self._total += size - self._held.get(holder, 0)
        self._held[holder] = size
        while self._total > self._max_bytes and (oldest := self._oldest_but(holder)):
            _log.warning("ended a connection whose request had begun first, to make room for others")
            self.drop(oldest)
            oldest.give_up()

    def answer(self, holder: Holder, size: int) -> None:
        """Note that the head of *holder* is complete, and that it holds *size* bytes until it is dropped."""
        self.drop(holder)
        if size > _SMALL_BYTES:
            self._answering[holder] = size
            self._answering_total += size

    def drop(self, holder: Holder) -> None:
        """Forget *holder*: its request is answered, or its connection ended."""
        self._total -= self._held.pop(holder, 0)
        self.answered(holder)

    def answered(self, holder: Holder) -> None:
        """Note that what *holder* asked is answered."""
        self._answering_total -= self._answering.pop(holder, 0)

    def _oldest_but(self, holder: Holder) -> Holder | None:
        return next((other for other in self._held if other is not holder), None)


class HeadSocket:
    """A client's socket as gunicorn reads it: what was *read* before comes first, and heads are bounded.

    From ``end_head`` to ``begin_head`` it hands on a body as it comes.
    """

    def __init__(self, client: Any, heads: Heads, read: bytes = b"") -> None:
        self._client = client
        self._heads = heads
        self._read = read
        self._is_given_up = False
        self.is_released = False
        self.begin_head()

    def begin_head(self, ahead: bytes = b"") -> None:
        """Expect the head of the next request, of which *ahead* was read; ``start`` is its first bytes."""
        self._is_in_head = True
        self._size = len(ahead)
        self.start = ahead[:_START_BYTES]
        self._heads.drop(self)
        if ahead:
            self._heads.note(self, self._size)

    def end_head(self) -> None:
        """Note that the head is complete."""
        self._heads.answer(self, self._size + len(self._read))
        self._is_in_head, self._size = False, 0

    def discard(self) -> None:
        """Let go all that was read: the connection ends."""
        self._read, self._is_in_head, self._size = b"", False, 0
        self._heads.drop(self)

    def recv(self, size: int) -> bytes:
        """Return at most *size* bytes, of a large head more, those that were read first.

        Raises LimitRequestHeaders, OverloadedError, and StopIteration when the client leaves before its head
        is complete, as gunicorn's parser does before the first byte: NoMoreData would take the head to a
        debugging log.
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
        """Tell whether some of what was read before is still to come."""
        return bool(self._read)

    def give_up(self) -> None:
        """End what the client sends, and wake whoever reads; what has arrived is not read any more."""
        self._is_given_up = True
        end_reading(self._client)

    def _count(self, data: bytes) -> None:
        if not data or self._is_given_up:
            raise StopIteration
        self._size += len(data)
        if len(self.start) < _START_BYTES:
            self.start += data[:_START_BYTES]
        if self._size > _SMALL_BYTES and self._heads.is_full:
            raise OverloadedError
        self._heads.note(self, self._size)

    def release(self) -> None:
        """Leave the connection open, for somebody else to go on with, when gunicorn closes it."""
        self.is_released = True

    def close(self) -> None:
        """End the connection, unless it was released."""
        self._heads.drop(self)
        if not self.is_released:
            self._client.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)


def end_reading(client: Any) -> None:
    """End what *client* sends: what has arrived is still read and answered, then comes the end.

    On a copy, because gevent's own shutdown would raise an error where this socket is being read.
    """
    with suppress(OSError), socket.fromfd(client.fileno(), client.family, client.type) as same:
        same.shutdown(socket.SHUT_RD)
