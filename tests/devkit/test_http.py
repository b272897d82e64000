"""The parser of HTTP/1.1 responses."""

from __future__ import annotations

import socketserver

import pytest

from devkit.backend import Backend
from devkit.http import Connection, answers, call, first_answer
from devkit.server import Server

CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\none\r\n2\r\nty\r\n0\r\nTrailer: t\r\n\r\n"
)
SIZED = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 4\r\nVary: a\r\nvary: b\r\n\r\nbody"
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"
EMPTY = b"HTTP/1.1 204 No Content\r\n\r\n"
ENDLESS = b"HTTP/1.1 400 Bad Request\r\n\r\nup to the end"


@pytest.mark.parametrize(("data", "body"), [(CHUNKED, b"onety"), (SIZED, b"body"), (EMPTY, b"")])
def test_every_prefix_is_incomplete(data: bytes, body: bytes) -> None:
    """A response is complete with its last byte, and not before; what follows is not part of it."""
    for length in range(len(data)):
        assert first_answer(data[:length]) is None
    parsed = first_answer(data + b"HTTP/1.1 ")

    assert parsed
    assert (parsed[0].body, parsed[1]) == (body, len(data))


def test_interim_response() -> None:
    """A 100 is skipped, and is not a final response."""
    assert first_answer(INTERIM) is None
    assert [answer.status for answer in answers(INTERIM + SIZED)] == [401]


def test_pipelined_responses() -> None:
    """Several responses are told apart, and repeated fields are joined."""
    received = answers(SIZED + CHUNKED + EMPTY + SIZED)

    assert [answer.status for answer in received] == [401, 200, 204, 401]
    assert received[0].headers == {"content-length": "4", "vary": "a, b"}


def test_response_to_head() -> None:
    """The response to a HEAD has a length and no body."""
    head = SIZED.removesuffix(b"body")
    parsed = first_answer(head, head=True)

    assert parsed
    assert (parsed[0].body, parsed[1]) == (b"", len(head))


def test_body_without_length() -> None:
    """Only the end of the connection completes a body without a length."""
    assert first_answer(ENDLESS) is None
    parsed = first_answer(ENDLESS, ended=True)
    assert parsed
    assert parsed[0].body == b"up to the end"


@pytest.mark.parametrize("data", [b"junk\r\n\r\n", SIZED[:-1], ENDLESS, SIZED + b"x"])
def test_anything_else_is_an_error(data: bytes) -> None:
    """Anything but a sequence of complete responses is refused."""
    with pytest.raises(ValueError, match="not a"):
        answers(data)


class AtOnce(socketserver.StreamRequestHandler):
    """Sends two responses in one write."""

    def handle(self) -> None:
        """Send both responses."""
        self.wfile.write(SIZED + EMPTY)


def test_two_responses_at_once() -> None:
    """A connection keeps what it received beyond the response that it returns."""
    with Server(AtOnce) as server, Connection(server.port) as connection:
        assert [connection.read().status for _ in range(2)] == [401, 204]


def test_connection() -> None:
    """A connection carries several requests until it is closed."""
    with Backend() as backend, Connection(backend.port) as connection:
        assert connection.call("/one", method="HEAD").body == b""
        connection.send(b"GET /two HTTP/1.1\r\n\r\nGET /three HTTP/1.1\r\n\r\n")
        assert [connection.read().json()["path"] for _ in range(2)] == ["/two", "/three"]
        connection.finish()
        assert connection.is_closed()
        assert call(backend.port, "/four", method="POST", body=b"x").json()["path"] == "/four"
