"""What unfinished heads may hold."""

from __future__ import annotations

import pytest
from gunicorn.http.errors import LimitRequestHeaders

from app.worker.heads import MAX_HEAD_BYTES, Heads, HeadSocket, OverloadedError


class Client:
    """The other end, which sends *chunks*."""

    def __init__(self, *chunks: bytes) -> None:
        self._chunks = list(chunks)

    def recv(self, _: int) -> bytes:
        """Return the next of them."""
        return self._chunks.pop(0) if self._chunks else b""


class Endless:
    """The other end, which never stops."""

    def recv(self, size: int) -> bytes:
        """Return as much as fits."""
        return b"a" * size


class Holder:
    """A connection that may have to go."""

    def __init__(self) -> None:
        self.is_gone = False

    def give_up(self) -> None:
        """Go."""
        self.is_gone = True


def test_first_begun_goes_first() -> None:
    """Beyond the bound, whoever began first goes, however much others hold, and a finished one never."""
    heads, holders = Heads(max_bytes=100), [Holder() for _ in range(4)]
    done, _, second, third = holders
    for holder in holders:
        heads.note(holder, 30)
        if holder is done:
            heads.drop(done)
    heads.note(third, 60)

    assert [holder.is_gone for holder in holders] == [False, True, False, False]
    heads.note(second, 100)
    assert [holder.is_gone for holder in holders] == [False, True, False, True]


def test_own_head_alone() -> None:
    """One that holds more than all may is bounded by its own limit, not by this one."""
    heads, only = Heads(max_bytes=100), Holder()
    heads.note(only, 1000)

    assert not only.is_gone


def test_socket_bounds_the_head_and_no_body() -> None:
    """A head ends at its bound, and each head begins to count anew; a body passes."""
    half = b"a" * (MAX_HEAD_BYTES // 2)
    socket = HeadSocket(Client(half, half, half, half, half), Heads(), read=half)
    assert (socket.recv(MAX_HEAD_BYTES), socket.recv(MAX_HEAD_BYTES)) == (half, half)
    socket.end_head()
    assert socket.recv(1) == half
    socket.begin_head()
    assert (socket.recv(1), socket.recv(1)) == (half, half)

    with pytest.raises(LimitRequestHeaders):
        socket.recv(1)


def test_half_a_head_is_repeated_to_nobody() -> None:
    """The end of what a client sends ends the parser in the same way before, in and after a head."""
    with pytest.raises(StopIteration):
        HeadSocket(Client(), Heads()).recv(1)
    socket = HeadSocket(Client(b"GET"), Heads())
    assert socket.recv(3) == b"GET"
    with pytest.raises(StopIteration):
        socket.recv(1)
    socket.end_head()
    assert socket.recv(1) == b""


def test_given_up_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    """What had arrived on a connection that was given up is not taken for a head that has just begun."""
    monkeypatch.setattr("app.worker.heads.end_reading", lambda _: None)
    heads = Heads(max_bytes=100)
    slow, young = HeadSocket(Client(b"a" * 60, b"a" * 60), heads), Holder()
    slow.recv(60)
    heads.note(young, 90)

    with pytest.raises(StopIteration):
        slow.recv(60)
    heads.note(young, 95)
    assert not young.is_gone


def test_large_heads_that_are_answered() -> None:
    """When the large heads that wait for their answers fill their room, no other large one is read on."""
    heads, slow = Heads(max_answering_bytes=60_000), Holder()
    heads.answer(slow, 60_000)
    late = HeadSocket(Client(b"a" * 10_000, b"a" * 10_000), heads)

    assert heads.is_full
    assert len(late.recv(10_000)) == 10_000  # small ones may always come
    with pytest.raises(OverloadedError):
        late.recv(10_000)
    heads.answered(slow)
    assert not heads.is_full


def test_answer_frees_its_room() -> None:
    """A head makes room when it is answered, when its connection ends, and when it was refused."""
    for leave in (HeadSocket.begin_head, HeadSocket.discard):
        heads = Heads(max_answering_bytes=60_000)
        socket = HeadSocket(Client(b"a" * 60_000), heads)
        socket.recv(60_000)
        socket.end_head()
        assert heads.is_full
        leave(socket)
        assert not heads.is_full


def test_part_of_the_next_head_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """What came with the request before is part of what a connection holds of the next."""
    monkeypatch.setattr("app.worker.heads.end_reading", lambda _: None)
    heads, young = Heads(max_bytes=100), Holder()
    socket = HeadSocket(Client(b"a"), heads)
    socket.begin_head(b"POST /api" + b"a" * 60)
    assert socket.start.startswith(b"POST /api")
    heads.note(young, 90)

    with pytest.raises(StopIteration):
        socket.recv(1)


def test_longest_head() -> None:
    """A head that ends at its bound is read to its end and no further."""
    socket = HeadSocket(Endless(), Heads())
    size = 0
    while size < MAX_HEAD_BYTES:
        size += len(socket.recv(8192))

    assert size == MAX_HEAD_BYTES
    with pytest.raises(LimitRequestHeaders):
        socket.recv(8192)
