"""A TCP relay before Redis that can be made to fail in the ways that networks do."""

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
"""Turns what came into what is sent instead: pauses in seconds, and bytes; ConnectionError cuts."""


class Proxy:
    """Relays between a port of its own and *target*; *spoil* makes one Spoil for each direction."""

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
        self._speaks = asyncio.Event()
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
        """Relay again as a good network does; what was held back goes on its way."""
        self._call(self._open())

    def refuse(self) -> None:
        """Cut all connections and listen no more."""
        self._call(self._close())

    def swallow(self) -> None:
        """Cut all connections and leave new ones without any answer: their SYN is dropped."""
        self._call(self._close())
        self._hole = [socket.create_server(("127.0.0.1", self.port), backlog=0)]
        for _ in range(_STUFFING):
            stuffing = socket.socket()
            stuffing.setblocking(False)  # noqa: FBT003 - the standard library's signature
            stuffing.connect_ex(("127.0.0.1", self.port))
            self._hole.append(stuffing)

    def hush(self, *, cut: bool = False) -> None:
        """Accept connections and take bytes, but pass nothing on; *cut* those that are open."""
        self._loop.call_soon_threadsafe(self._speaks.clear)
        if cut:
            self.cut()

    def hang_up(self) -> None:
        """Cut all connections, and each new one at once."""
        self._hangs_up = True
        self.cut()

    def cut(self) -> None:
        """Cut all connections; new ones are welcome."""
        self._call(self._cut())

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _open(self) -> None:
        self._fill_hole()
        self._hangs_up = False
        self._speaks.set()
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
            pass  # a cut connection is what this is for
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
            await self._speaks.wait()
            if spoil:
                await self._send_spoiled(spoil(chunk), writer)
            elif self.delay_s:
                due = max(due + 1e-6, self._loop.time() + self.delay_s)  # never before what came before
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
