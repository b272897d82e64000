"""The load generator and its tally."""

from __future__ import annotations

import socketserver
import time

import pytest

from devkit.backend import Backend
from devkit.load import ClosedLoop, OpenLoop, answered, hammer, is_late, send_each, volleys
from devkit.ports import free_port
from devkit.server import Server
from devkit.tally import LATE, NO_ANSWER, Exchange, Request, Tally, get

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Abrupt(socketserver.StreamRequestHandler):
    """Answers two requests and then closes the connection without an announcement."""

    def handle(self) -> None:
        """Answer two requests."""
        for _ in range(2):
            if not self.rfile.readline():
                return
            while self.rfile.readline().strip():
                pass
            self.wfile.write(OK)


def exchange(seconds: float, status: int = 200, error: str = "", began: float = 0) -> Exchange:
    """Return an exchange of a request that expects a 200."""
    return Exchange(began, began + seconds, Request("a", b""), status, error)


def test_tally() -> None:
    """A tally counts statuses and errors; a late request is not lost, and an error is not an answer."""
    tally = Tally([exchange(1), exchange(9, 503), exchange(99, 0, "ConnectionError"), exchange(99, 0, LATE)])

    assert str(tally) == "none: 2, 200: 1, 503: 1"
    assert tally.outcomes == {"200": 1, "503": 1, "ConnectionError": 1, LATE: 1}
    assert tally.lost == {"503": 1, "ConnectionError": 1}
    assert tally.slowest_s == 9
    assert len(tally.unexpected(503)) == 2
    assert str(Tally()) == "-"


def test_percentiles() -> None:
    """A percentile is the time of one of the answers."""
    tally = Tally(exchange(ms / 1000) for ms in reversed(range(200)))

    assert [round(tally.percentile_ms(percent)) for percent in (0, 50, 99, 100)] == [0, 100, 198, 199]
    assert Tally().percentile_ms(50) == 0


def test_between() -> None:
    """A period includes its beginning and not its end."""
    tally = Tally(exchange(1, began=began) for began in range(5))

    assert [each.began for each in tally.between(1, 3)] == [1, 2]


def test_closed_loop() -> None:
    """Each client sends its next request once the last one is answered, until the block is left."""
    with Backend() as backend, ClosedLoop(backend.port, get("a", "/a"), get("b", "/b"), clients=3) as load:
        load.wait_for(50)

    assert load.tally.lost == {}
    assert backend.hits == len(load.tally)
    assert set(load.tally.by_name()) == {"a", "b"}


def test_open_loop() -> None:
    """The rate does not depend on the answers."""
    with Server(socketserver.BaseRequestHandler) as silent:
        began = time.monotonic()
        with OpenLoop(silent.port, get("a", "/"), per_second=200) as load:
            load.wait_for(20)
    lasted = time.monotonic() - began

    assert set(load.tally.statuses) == {NO_ANSWER}
    assert len(load.tally) <= lasted * 200 + 1


class Counting(Backend):
    """Counts its connections."""

    connections = 0

    def verify_request(self, *_: object) -> bool:
        """Count one, and accept it."""
        self.connections += 1
        return True


def test_open_loop_reuses_connections() -> None:
    """A connection whose answer has arrived carries another request."""
    with Counting() as backend, OpenLoop(backend.port, get("a", "/"), per_second=100) as load:
        load.wait_for(30)

    assert backend.hits == len(load.tally)
    assert backend.connections < backend.hits / 2


def test_unannounced_end_is_a_loss() -> None:
    """A connection that ends without an announcement costs the request that follows at once."""
    with Server(Abrupt) as server:
        tally = send_each([server.port], [[get("a", "/")] * 4])

    assert [each.status for each in tally][:3] == [200, 200, NO_ANSWER]
    assert tally.lost.total() == 1
    with pytest.raises(ConnectionError):
        answered(tally)


def test_lateness() -> None:
    """Only a client that waited longer than a worker that stops may find its connection closed."""
    assert is_late(1.5, 1.0)
    assert not is_late(1.2, 1.0)
    assert not is_late(1.2, float("inf"))


def test_hammer() -> None:
    """Each client sends the same number of requests, spread over the ports."""
    with Backend() as one, Backend() as two:
        assert hammer([one.port, two.port], [], clients=4, each=5) == {200: 20}
        assert one.hits == two.hits == 10
    with pytest.raises(ConnectionError):
        hammer([free_port()], [], clients=1, each=1)


def test_volleys() -> None:
    """All requests of a volley are sent, and another one beside them."""
    with Backend() as backend:
        tally = volleys(backend.port, get("many", "/"), 5, 2, beside=get("one", "/"))

    assert {name: len(sent) for name, sent in tally.by_name().items()} == {"many": 10, "one": 2}
