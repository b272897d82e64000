"""Limits on the memory for request heads."""

from __future__ import annotations

import pytest
from gunicorn.http.errors import LimitRequestHeaders

from app.worker.heads import MAX_HEAD_BYTES, Heads, HeadSocket, OverloadedError


class Client:
    """A client that sends *chunks*."""

    def __init__(self, *chunks: bytes) -> None:
        self._chunks = list(chunks)

    def recv(self, _: int) -> bytes:
        """Return the next chunk."""
        return self._chunks.pop(0) if self._chunks else b""

    def fileno(self) -> int:
        """Return a number that stands for a file descriptor."""
        return -1


class Endless:
    """A client that never stops sending."""

    def recv(self, size: int) -> bytes:
        """Return *size* bytes."""
        return b"a" * size


class Holder:
    """A connection that may be evicted."""

    def __init__(self) -> None:
        self.is_evicted = False

    def evict(self) -> None:
        """Note the eviction."""
        self.is_evicted = True


def test_oldest_head_is_evicted_first() -> None:
    """Above the limit the oldest head is evicted, whatever the size of others, and a complete one never."""
    heads, holders = Heads(max_bytes=100), [Holder() for _ in range(4)]
    done, _, second, third = holders
    for holder in holders:
        heads.hold(holder, 30)
        if holder is done:
            heads.release(done)
    heads.hold(third, 60)

    assert [holder.is_evicted for holder in holders] == [False, True, False, False]
    heads.hold(second, 100)
    assert [holder.is_evicted for holder in holders] == [False, True, False, True]


def test_single_large_head() -> None:
    """A single head above the common limit is not evicted; its own limit applies."""
    heads, only = Heads(max_bytes=100), Holder()
    heads.hold(only, 1000)

    assert not only.is_evicted


def test_socket_limits_heads_and_no_bodies() -> None:
    """Each head on a connection is limited separately, and bodies are not limited."""
    half = b"a" * (MAX_HEAD_BYTES // 2)
    socket = HeadSocket(Client(half, half, half, half, half), Heads(), read=half)
    assert (socket.recv(MAX_HEAD_BYTES), socket.recv(MAX_HEAD_BYTES)) == (half, half)
    socket.end_head()
    assert socket.recv(1) == half
    socket.begin_head()
    assert (socket.recv(1), socket.recv(1)) == (half, half)

    with pytest.raises(LimitRequestHeaders):
        socket.recv(1)


def test_end_of_stream_within_a_head() -> None:
    """The end of the stream stops the parser alike before and within a head; after a head, recv is empty."""
    with pytest.raises(StopIteration):
        HeadSocket(Client(), Heads()).recv(1)
    socket = HeadSocket(Client(b"GET"), Heads())
    assert socket.recv(3) == b"GET"
    with pytest.raises(StopIteration):
        socket.recv(1)
    socket.end_head()
    assert socket.recv(1) == b""


def test_eviction_is_final(monkeypatch: pytest.MonkeyPatch) -> None:
    """Data that arrived on an evicted connection does not count as a new head."""
    monkeypatch.setattr("app.worker.heads.shutdown_read", lambda _: None)
    heads = Heads(max_bytes=100)
    slow, young = HeadSocket(Client(b"a" * 60, b"a" * 60), heads), Holder()
    slow.recv(60)
    heads.hold(young, 90)

    with pytest.raises(StopIteration):
        slow.recv(60)
    heads.hold(young, 95)
    assert not young.is_evicted


def test_large_heads_awaiting_responses() -> None:
    """While large heads that await responses use up their limit, no other large head is read."""
    heads, slow = Heads(max_answering_bytes=60_000), Holder()
    heads.begin_response(slow, 60_000)
    late = HeadSocket(Client(b"a" * 10_000, b"a" * 10_000), heads)

    assert heads.is_full
    assert len(late.recv(10_000)) == 10_000  # small heads are always accepted
    with pytest.raises(OverloadedError):
        late.recv(10_000)
    heads.end_response(slow)
    assert not heads.is_full


def test_large_head_is_released() -> None:
    """A large head stops counting when its request is answered and when its connection is closed."""
    for leave in (HeadSocket.begin_head, HeadSocket.discard):
        heads = Heads(max_answering_bytes=60_000)
        socket = HeadSocket(Client(b"a" * 60_000), heads)
        socket.recv(60_000)
        socket.end_head()
        assert heads.is_full
        leave(socket)
        assert not heads.is_full


def test_start_of_the_next_head_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that arrived together with the previous request count toward the next head."""
    monkeypatch.setattr("app.worker.heads.shutdown_read", lambda _: None)
    heads, young = Heads(max_bytes=100), Holder()
    socket = HeadSocket(Client(b"a"), heads)
    socket.begin_head(b"POST /api" + b"a" * 60)
    assert socket.start.startswith(b"POST /api")
    heads.hold(young, 90)

    with pytest.raises(StopIteration):
        socket.recv(1)


def test_longest_head() -> None:
    """A head is read up to its limit and no further."""
    socket = HeadSocket(Endless(), Heads())
    size = 0
    while size < MAX_HEAD_BYTES:
        size += len(socket.recv(8192))

    assert size == MAX_HEAD_BYTES
    with pytest.raises(LimitRequestHeaders):
        socket.recv(8192)
