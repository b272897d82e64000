"""The load generator: clients in a closed loop, an open loop at a constant rate, or fixed requests."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count, cycle, takewhile
from typing import Any, Self

from devkit.client import Client, connected
from devkit.http import Headers
from devkit.tally import LATE, Exchange, Request, Tally, get
from devkit.waiting import PATIENCE_S

LAST_CALL_S = 0.3  # how long a worker that stops still reads from its open connections
_PAUSE_S = 0.01  # after a failure


def is_late(sent: float, previous: float) -> bool:
    """Return whether a request was sent more than LAST_CALL_S after the *previous* one had begun.

    A worker that stops need not answer it. A busy machine makes clients that late, and then every client that
    keeps HTTP connections open has to retry.
    """
    return sent - previous > LAST_CALL_S


class Load:
    """Sends requests from a thread of its own while a block runs, and waits for the last answers after it."""

    def __init__(self, port: int, requests: Sequence[Request]) -> None:
        self.tally = Tally()
        self._port, self._requests = port, requests
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def wait_for(self, answers: int, deadline_s: float = PATIENCE_S) -> None:
        """Wait for that many more answers; raises TimeoutError."""
        enough, end = len(self.tally) + answers, time.monotonic() + deadline_s
        while len(self.tally) < enough:
            if time.monotonic() > end:
                raise TimeoutError(f"{self.tally.outcomes}")
            time.sleep(_PAUSE_S)

    async def _run(self) -> None:
        raise NotImplementedError


class ClosedLoop(Load):
    """Clients that each send one request after another, the next one as soon as the last is answered."""

    def __init__(self, port: int, *requests: Request, clients: int = 8) -> None:
        super().__init__(port, requests)
        self._clients = clients

    async def _run(self) -> None:
        note = self.tally.exchanges.append
        await asyncio.gather(*(_in_turn(self._port, self._endless(), note) for _ in range(self._clients)))

    def _endless(self) -> Iterator[Request]:
        """Yield the requests again and again until the block is left."""
        return takewhile(lambda _: not self._is_over.is_set(), cycle(self._requests))


class OpenLoop(Load):
    """A constant rate of requests, however slowly they are answered."""

    def __init__(self, port: int, *requests: Request, per_second: float) -> None:
        super().__init__(port, requests)
        self._per_second = per_second
        self._idle: list[Client] = []

    async def _run(self) -> None:
        began = time.monotonic()
        tasks: set[asyncio.Task[None]] = set()
        for number in count():
            await asyncio.sleep(max(0.0, began + number / self._per_second - time.monotonic()))
            if self._is_over.is_set():
                break
            task = asyncio.create_task(self._send(self._requests[number % len(self._requests)]))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.gather(*tasks)
        for client in self._idle:
            client.close()

    async def _send(self, request: Request) -> None:
        client = await self._connected()
        self.tally.exchanges.append(await client.exchange(request))
        if client.is_open and not client.is_last:
            self._idle.append(client)
        else:
            client.close()

    async def _connected(self) -> Client:
        while self._idle:
            if (client := self._idle.pop()).is_open:
                return client
        return await connected(self._port)


class _Caller:
    """Sends requests on one connection for as long as the server keeps it open, then on another one."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._client: Client | None = None
        self._previous = float("inf")  # when the last request on this connection began

    async def send(self, request: Request) -> Exchange:
        """Send one request and wait for its answer."""
        client = self._client = self._client or await connected(self._port)
        exchange = await client.exchange(request)
        if exchange.error and is_late(client.sent, self._previous):
            exchange = exchange._replace(error=LATE)
        self._previous = exchange.began
        if exchange.error or client.is_last or request.is_odd:
            self.close()
        return exchange

    def close(self) -> None:
        """Close the connection, if any."""
        if self._client:
            self._client.close()
        self._client, self._previous = None, float("inf")


async def _in_turn(port: int, requests: Iterable[Request], note: Callable[[Exchange], object]) -> None:
    """Send one request after another and pause after each failure."""
    caller = _Caller(port)
    for request in requests:
        exchange = await caller.send(request)
        note(exchange)
        if exchange.error:
            await asyncio.sleep(_PAUSE_S)
    caller.close()


def send_each(ports: Iterable[int], rows: Iterable[Iterable[Request]]) -> Tally:
    """Send the requests of each row in turn, all rows at the same time, spread over *ports*."""
    tally = Tally()

    def note(exchange: Exchange) -> None:
        without_data = replace(exchange.request, data=b"")  # or a long run fills the memory
        tally.exchanges.append(exchange._replace(request=without_data))

    async def run() -> None:
        await asyncio.gather(
            *(_in_turn(port, row, note) for port, row in zip(cycle(ports), rows, strict=False))
        )

    _apart(run())
    return tally


def hammer(ports: Iterable[int], headers: Headers, clients: int = 50, each: int = 40) -> Counter[int]:
    """Send *each* times *clients* GET /auth at once and count the statuses; raises ConnectionError."""
    request = get("/auth", "/auth", headers)
    return answered(send_each(ports, [[request] * each] * clients))


def answered(tally: Tally) -> Counter[int]:
    """Return the statuses; raises ConnectionError if a request got no answer."""
    if unanswered := tally.where(lambda exchange: bool(exchange.error)):
        raise ConnectionError(f"{unanswered.outcomes}")
    return tally.statuses


def volleys(port: int, request: Request, at_once: int, times: int, beside: Request | None = None) -> Tally:
    """Send *request* on *at_once* connections at the same moment, *times* over, and *beside* during each."""
    tally = Tally()
    _apart(_volleys(port, [request] * at_once, times, beside, tally.exchanges))
    return tally


async def _volleys(
    port: int, requests: Sequence[Request], times: int, beside: Request | None, exchanges: list[Exchange]
) -> None:
    clients = [await connected(port) for _ in requests]
    probe = await connected(port)
    for _ in range(times):
        pairs = zip(clients, requests, strict=True)
        volley = [asyncio.create_task(client.exchange(request)) for client, request in pairs]
        if beside:
            await asyncio.sleep(0.1)  # until all of them are sent and wait
            exchanges.append(await probe.exchange(beside))
        exchanges += await asyncio.gather(*volley)
    for client in [*clients, probe]:
        client.close()


def _apart(work: Coroutine[Any, Any, None]) -> None:
    """Run *work* in a thread, because the caller may have an event loop of its own."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, work).result()
