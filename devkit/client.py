"""An asynchronous HTTP/1.1 client: one keep-alive connection, one request at a time."""

from __future__ import annotations

import asyncio
import time

from devkit.http import Answer, first_answer
from devkit.tally import NO_ANSWER, Exchange, Request
from devkit.waiting import PATIENCE_S

_ODD_PATIENCE_S = 10.0  # a server may rightly wait for the rest of an odd request


async def connected(port: int) -> Client:
    """Return a client with a new connection; if that fails, each of its exchanges fails."""
    client = Client()
    try:
        await asyncio.get_running_loop().create_connection(lambda: client, "127.0.0.1", port)
    except OSError as error:
        client.error = type(error).__name__
    return client


class Client(asyncio.Protocol):
    """A client; *sent* is the time of its last request, *is_last* whether the answer said `close`."""

    def __init__(self) -> None:
        self.is_open = self.is_last = False
        self.sent = 0.0
        self.error = ConnectionError.__name__
        self._transport: asyncio.Transport | None = None
        self._received = b""
        self._status: asyncio.Future[int] | None = None

    async def exchange(self, request: Request) -> Exchange:
        """Send *request* and wait for its answer."""
        began = time.monotonic()
        status, error = NO_ANSWER, ""
        if self._transport and self.is_open:
            self._status = asyncio.get_running_loop().create_future()
            self._transport.write(request.data)
            self.sent = time.monotonic()
            status, error = await self._answered(_ODD_PATIENCE_S if request.is_odd else PATIENCE_S)
        else:
            self.sent, error = began, self.error
        if error:
            self.close()
        return Exchange(began, time.monotonic(), request, status, error)

    async def _answered(self, patience_s: float) -> tuple[int, str]:
        assert self._status
        try:
            return await asyncio.wait_for(self._status, patience_s), ""
        except (OSError, ValueError) as error:  # TimeoutError is an OSError
            return NO_ANSWER, type(error).__name__

    def close(self) -> None:
        """Close the connection."""
        self.is_open = False
        if self._transport:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Be ready to send."""
        assert isinstance(transport, asyncio.Transport)
        self._transport, self.is_open = transport, True

    def data_received(self, data: bytes) -> None:
        """Return the status to the caller once the whole answer has arrived."""
        self._received += data
        self._parse()

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the request that waits, unless the end of the connection completes its answer."""
        self.is_open = False
        self.error = type(exc).__name__ if exc else self.error
        self._parse(ended=True)
        if self._status and not self._status.done():
            self._status.set_exception(exc or ConnectionError("closed without an answer"))

    def _parse(self, *, ended: bool = False) -> None:
        if not self._status or self._status.done():
            return
        try:
            parsed = first_answer(self._received, ended=ended)
        except ValueError as error:
            self._status.set_exception(error)
            return
        if parsed:
            self._received = self._received[parsed[1] :]
            self._settle(parsed[0])

    def _settle(self, answer: Answer) -> None:
        assert self._status
        self.is_last = answer.headers.get("connection", "").lower() == "close"
        self._status.set_result(answer.status)
