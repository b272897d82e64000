"""The client of constant rate charges a server for all requests that were due while it stood still."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator

import pytest

from benchmarks.constant_rate import CONNECTIONS, Run
from devkit.http import encoded

PER_SECOND, PAUSE_S = 400, 0.5


class Server(socketserver.ThreadingTCPServer):
    """Answers nothing until PAUSE_S after the first request; closes each connection after some answers."""

    daemon_threads = True
    request_queue_size = CONNECTIONS

    def __init__(self, answers: int) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers = answers
        self.goes_on = threading.Event()
        self._timer = threading.Timer(PAUSE_S, self.goes_on.set)
        self._first = threading.Lock()

    def wait(self) -> None:
        """Wait for the end of the pause, which the first request begins."""
        if self._first.acquire(blocking=False):
            self._timer.start()
        self.goes_on.wait()


class Handler(socketserver.BaseRequestHandler):
    """Answers 200 once the server goes on."""

    server: Server

    def handle(self) -> None:
        """Answer until the client or the server has had enough."""
        for _ in range(self.server.answers):
            if not self.request.recv(4096):
                return
            self.server.wait()
            self.request.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK")


@pytest.fixture(name="run", params=[100, 1], ids=["kept", "closed"])
def _run(request: pytest.FixtureRequest) -> Iterator[Run]:
    with Server(request.param) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        run = Run(server.server_address[1], PER_SECOND, [encoded("/auth")])
        run.go(2 * PAUSE_S)
        yield run
        server.shutdown()
        thread.join()


def test_pause(run: Run) -> None:
    """Requests for which no connection was free count from when they were due, and so do repeated ones."""
    due_early = int(PER_SECOND * PAUSE_S / 2)
    assert due_early > CONNECTIONS

    assert sum(latency >= PAUSE_S / 2 for latency in run.latencies) >= due_early
    assert (len(run.latencies), run.refused) == (2 * PAUSE_S * PER_SECOND, 0)
