"""A TCP relay in front of a server that fails on demand in the ways in which networks fail."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Self

from devkit.ports import free_port

_CHUNK_BYTES = 65_536
_BACKLOG = 1024
_STUFFING = 8  # connections that fill the queue of a listener that accepts none

Spoil = Callable[[bytes], Iterable[tuple[float, bytes]]]
"""Replaces the bytes received by pauses in seconds and bytes to send; raises ConnectionError to cut."""


class Relay:
    """A relay from a port of its own to *target*; *spoil* returns a new Spoil for each direction."""

    def __init__(self, target: int, spoil: Callable[[], Spoil] | None = None) -> None:
        self.port = free_port()
        self.accepted = 0
        self.delay_s = 0.0
        self._target = target
        self._spoil = spoil
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._hole: list[socket.socket] = []
        self._relays = asyncio.Event()
        self._hangs_up = False

    def __enter__(self) -> Self:
        self._thread.start()
        self.restore()
        return self

    def __exit__(self, *_: object) -> None:
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def restore(self) -> None:
        """Relay without faults again, including the bytes that were held back."""
        self._call(self._open())

    def refuse(self) -> None:
        """Close all connections and stop listening."""
        self._call(self._close())

    def swallow(self) -> None:
        """Close all connections and drop the SYN of new ones."""
        self._call(self._close())
        self._hole = [socket.create_server(("127.0.0.1", self.port), backlog=0)]
        for _ in range(_STUFFING):
            stuffing = socket.socket()
            stuffing.setblocking(False)  # noqa: FBT003 - the standard library's signature
            stuffing.connect_ex(("127.0.0.1", self.port))
            self._hole.append(stuffing)

    def silence(self, *, cut: bool = False) -> None:
        """Accept connections and read, but relay nothing; *cut* also closes the open connections."""
        self._loop.call_soon_threadsafe(self._relays.clear)
        if cut:
            self.cut()

    def hang_up(self) -> None:
        """Close all connections, and each new one at once."""
        self._hangs_up = True
        self.cut()

    def cut(self) -> None:
        """Close all connections; new ones are relayed."""
        self._call(self._cut())

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _open(self) -> None:
        self._fill_hole()
        self._hangs_up = False
        self._relays.set()
        if not self._server:
            self._server = await asyncio.start_server(
                self._serve, "127.0.0.1", self.port, backlog=_BACKLOG, limit=_CHUNK_BYTES
            )

    async def _close(self) -> None:
        self._fill_hole()
        if self._server:
            self._server.close()
            self._server = None
        await self._cut()

    async def _cut(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _fill_hole(self) -> None:
        while self._hole:
            self._hole.pop().close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        try:
            if not self._hangs_up:
                await self._connect(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass  # because cutting connections is this relay's purpose
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._target, limit=_CHUNK_BYTES)
        ways = [asyncio.create_task(self._relay(*way)) for way in ((reader, back), (there, writer))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            back.transport.abort()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        spoil = self._spoil() if self._spoil else None
        due = 0.0
        while chunk := await reader.read(_CHUNK_BYTES):
            await self._relays.wait()
            if spoil:
                await self._send_spoiled(spoil(chunk), writer)
            elif self.delay_s:
                due = max(due + 1e-6, self._loop.time() + self.delay_s)  # so that the order is kept
                self._loop.call_at(due, writer.write, chunk)
            elif not writer.is_closing():
                writer.write(chunk)

    @staticmethod
    async def _send_spoiled(pieces: Iterable[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
        for pause_s, piece in pieces:
            if pause_s:
                await asyncio.sleep(pause_s)
            if writer.is_closing():
                break
            writer.write(piece)
