"""python -m benchmarks.constant_rate PORT RATE SECONDS FILE: requests at a constant rate.

Latencies count from the moment at which a request was due, so that a server that stops for a while is
charged for all requests that were due meanwhile. The file has raw requests, NUL between them. One line of
JSON is printed.
"""

from __future__ import annotations

import gc
import json
import select
import socket
import sys
from array import array
from collections import deque
from itertools import cycle
from pathlib import Path
from time import perf_counter

from devkit.http import first_answer

CONNECTIONS, PATIENCE_S, RECEIVE_BYTES = 64, 10, 65_536
_ALLOWED, _END = b"HTTP/1.1 200 ", b"\r\n\r\nOK"


class Connection:
    """A kept connection with at most one request on its way."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.idle_since = 0.0
        self._open()

    def _open(self) -> None:
        self._socket = socket.create_connection(("127.0.0.1", self._port), PATIENCE_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.fd = self._socket.fileno()

    def close(self) -> None:
        """Close it."""
        self._socket.close()

    def send(self, request: bytes, due: float) -> None:
        """Send a request that was due at that time."""
        self.request, self.due, self._received = request, due, b""
        try:
            self._socket.send(request)
        except ConnectionError:
            self.repeat()

    def repeat(self) -> None:
        """Send it on a new connection, because the server closed this one."""
        self.close()
        self._open()
        self._received = b""
        self._socket.send(self.request)

    def receive(self) -> int | None:
        """Return the status if the answer is complete, 0 if the connection ended before one, else None."""
        try:
            chunk = self._socket.recv(RECEIVE_BYTES)
        except ConnectionError:
            chunk = b""
        if not chunk:
            return 0
        self._received += chunk
        return self._status()

    def _status(self) -> int | None:
        received = self._received
        if received.startswith(_ALLOWED) and received.endswith(_END) and b"close\r\n" not in received:
            return 200
        parsed = first_answer(received)
        if parsed and parsed[0].headers.get("connection", "").lower() == "close":
            self.close()
            self._open()
        return parsed[0].status if parsed else None


class Run:
    """Requests at a constant rate, and what became of them."""

    def __init__(self, port: int, per_second: float, requests: list[bytes]) -> None:
        self._idle = deque(Connection(port) for _ in range(CONNECTIONS))
        self._busy: dict[int, Connection] = {}
        self._per_second, self._requests = per_second, cycle(requests)
        self.latencies, self.lags = array("d"), array("d")
        self.refused = self.repeated = 0

    def go(self, seconds: float) -> None:
        """Send requests for so long, wait for the last answers, and close all connections."""
        total, sent, start = int(self._per_second * seconds), 0, perf_counter()
        end = start + seconds + PATIENCE_S
        while (sent < total or self._busy) and (now := perf_counter()) < end:
            due = start + sent / self._per_second
            may_send = sent < total and bool(self._idle)
            if may_send and due <= now:
                self._send(due, now)
                sent += 1
            else:
                self._wait(due - now if may_send else PATIENCE_S)
        self.refused += len(self._busy) + total - sent
        for connection in (*self._idle, *self._busy.values()):
            connection.close()

    def _send(self, due: float, now: float) -> None:
        connection = self._idle.popleft()
        self.lags.append(now - max(due, connection.idle_since))
        connection.send(next(self._requests), due)
        self._busy[connection.fd] = connection

    def _wait(self, seconds: float) -> None:
        for fd in select.select(self._busy, (), (), seconds)[0]:
            connection = self._busy[fd]
            status = connection.receive()
            if status is not None:
                del self._busy[fd]
                self._note(connection, status)

    def _note(self, connection: Connection, status: int) -> None:
        if not status:
            self.repeated += 1
            connection.repeat()
            self._busy[connection.fd] = connection
            return
        connection.idle_since = perf_counter()
        self.latencies.append(connection.idle_since - connection.due)
        self.refused += status != 200  # noqa: PLR2004
        self._idle.append(connection)


def percentile_us(seconds: array[float], share: float) -> float:
    """Return a percentile of durations, in microseconds."""
    ordered = sorted(seconds)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1_000_000 if ordered else 0.0


def main() -> None:
    port, per_second, seconds, file = sys.argv[1:]
    run = Run(int(port), float(per_second), Path(file).read_bytes().split(b"\0"))
    gc.disable()  # it would delay requests
    run.go(float(seconds))
    shares = {"p50_us": 0.5, "p99_us": 0.99, "p999_us": 0.999}
    found = {name: percentile_us(run.latencies, share) for name, share in shares.items()}
    found |= {"lag_us": percentile_us(run.lags, 0.99), "refused": run.refused, "repeated": run.repeated}
    print(json.dumps(found | {"requests": len(run.latencies)}))


if __name__ == "__main__":
    main()
