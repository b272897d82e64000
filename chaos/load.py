"""A steady load of requests over keep-alive connections, and what came back, one by one."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from typing import NamedTuple, Self

from devkit.http import bearer, forwarded

NO_ANSWER = 0
PATIENCE_S = 30.0


@dataclass(frozen=True)
class Ask:
    """One request that is sent again and again, and the status it gets when all is well."""

    name: str
    raw: bytes
    expected: int


class Shot(NamedTuple):
    """One request that was sent; times are monotonic."""

    began: float
    ended: float
    ask: Ask
    status: int

    @property
    def lasted_ms(self) -> float:
        """Return how long the answer took."""
        return (self.ended - self.began) * 1000


def auth(name: str, token: str, expected: int, host: str = "a.test") -> Ask:
    """Return a GET /auth as Traefik sends it."""
    return Ask(name, _get("/auth", [*forwarded(host), *bearer(token)]), expected)


def livez() -> Ask:
    """Return a GET /livez as Kubernetes sends it."""
    return Ask("/livez", _get("/livez", []), 200)


def _get(target: str, headers: Sequence[tuple[str, str]]) -> bytes:
    fields = "".join(f"{name}: {value}\r\n" for name, value in [("Host", "auth"), *headers])
    return f"GET {target} HTTP/1.1\r\n{fields}\r\n".encode()


def statuses(shots: Iterable[Shot]) -> str:
    """Say how often each status came."""
    counted = sorted(Counter(shot.status for shot in shots).items())
    return ", ".join(f"{status or 'none'}: {number}" for status, number in counted) or "-"


def percentile(shots: Sequence[Shot], percent: float) -> float:
    """Return how many milliseconds *percent* of the answers took at most."""
    ordered = sorted(shot.lasted_ms for shot in shots)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] if ordered else 0.0


class Load:
    """Sends *asks* in turn, *per_second* in all, whether answers come or not; leaving waits for the last."""

    def __init__(self, port: int, asks: Sequence[Ask], per_second: float) -> None:
        self.shots: list[Shot] = []
        self._port = port
        self._asks = asks
        self._per_second = per_second
        self._idle: list[_Client] = []
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def between(self, began: float, ended: float) -> list[Shot]:
        """Return what was sent from *began* on and before *ended*."""
        return [shot for shot in list(self.shots) if began <= shot.began < ended]

    async def _run(self) -> None:
        began = time.monotonic()
        tasks: set[asyncio.Task[None]] = set()
        for number in count():
            await asyncio.sleep(max(0.0, began + number / self._per_second - time.monotonic()))
            if self._is_over.is_set():
                break
            task = asyncio.create_task(self._shoot(self._asks[number % len(self._asks)]))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.gather(*tasks)
        for client in self._idle:
            client.close()

    async def _shoot(self, ask: Ask) -> None:
        client = await self._connected()
        shot = await client.shoot(ask)
        self.shots.append(shot)
        if client.is_open:
            self._idle.append(client)

    async def _connected(self) -> _Client:
        while self._idle:
            if (client := self._idle.pop()).is_open:
                return client
        return await connected(self._port)


async def connected(port: int) -> _Client:
    """Return a new connection; one that can't be made gives no answer."""
    client = _Client()
    with suppress(OSError):
        await asyncio.get_running_loop().create_connection(lambda: client, "127.0.0.1", port)
    return client


class _Client(asyncio.Protocol):
    """One keep-alive connection, one request at a time."""

    def __init__(self) -> None:
        self.is_open = False
        self._transport: asyncio.Transport | None = None
        self._received = b""
        self._status: asyncio.Future[int] | None = None

    async def shoot(self, ask: Ask) -> Shot:
        """Send *ask* and wait for its answer."""
        began = time.monotonic()
        status = NO_ANSWER
        if self._transport and self.is_open:
            self._status = asyncio.get_running_loop().create_future()
            self._transport.write(ask.raw)
            with suppress(TimeoutError):
                status = await asyncio.wait_for(self._status, PATIENCE_S)
        if status == NO_ANSWER:
            self.close()
        return Shot(began, time.monotonic(), ask, status)

    def close(self) -> None:
        """Close the connection."""
        self.is_open = False
        if self._transport:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Be ready to ask."""
        assert isinstance(transport, asyncio.Transport)
        self._transport, self.is_open = transport, True

    def data_received(self, data: bytes) -> None:
        """Give out the status as soon as the whole answer is there."""
        self._received += data
        head, ended, body = self._received.partition(b"\r\n\r\n")
        length = head.lower().rpartition(b"content-length: ")[2].partition(b"\r\n")[0]
        if ended and len(body) >= int(length):
            self._received = b""
            self._settle(int(head[9:12]))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Give up the answer that is waited for, if any."""
        self.is_open = False
        self._settle(NO_ANSWER)

    def _settle(self, status: int) -> None:
        if self._status and not self._status.done():
            self._status.set_result(status)


def volleys(port: int, ask: Ask, at_once: int, times: int, beside: Ask | None = None) -> list[Shot]:
    """Send *ask* on *at_once* connections at the same moment, *times* over, and *beside* amid each."""
    with ThreadPoolExecutor(1) as aside:  # who calls may have a loop of its own
        return aside.submit(asyncio.run, _volleys(port, ask, at_once, times, beside)).result()


async def _volleys(port: int, ask: Ask, at_once: int, times: int, beside: Ask | None) -> list[Shot]:
    clients = [await connected(port) for _ in range(at_once)]
    probe = await connected(port)
    shots: list[Shot] = []
    for _ in range(times):
        volley = [asyncio.create_task(client.shoot(ask)) for client in clients]
        if beside:
            await asyncio.sleep(0.1)  # all of them are sent and wait
            shots.append(await probe.shoot(beside))
        shots += await asyncio.gather(*volley)
    for client in [*clients, probe]:
        client.close()
    return shots
