"""An HTTP/1.1 client on a loopback port: it sends any bytes and reads complete responses (RFC 9112)."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, NamedTuple, Self

from devkit.waiting import PATIENCE_S

Headers = Iterable[tuple[str, str]]

_STATUS_LINE = re.compile(r"HTTP/1\.\d (\d{3})(?: |$)")
_RECEIVE_BYTES = 65_536


class Answer(NamedTuple):
    """One HTTP response; ``all`` keeps repeated fields, ``headers`` has lower-case names."""

    status: int
    all: list[tuple[str, str]]
    body: bytes

    @property
    def headers(self) -> dict[str, str]:
        """Return the fields by lower-case name, repeated ones joined with a comma."""
        fields: dict[str, str] = {}
        for name, value in self.all:
            known = fields.get(name.lower())
            fields[name.lower()] = value if known is None else f"{known}, {value}"
        return fields

    @property
    def text(self) -> str:
        """Return the body as text."""
        return self.body.decode()

    def json(self) -> Any:
        """Return the JSON value in the body."""
        return json.loads(self.body)


def first_answer(
    received: bytes, start: int = 0, *, head: bool = False, ended: bool = False
) -> tuple[Answer, int] | None:
    """Return the first final response from *start* on and where it ends, None while bytes are missing.

    *head* marks the response to a HEAD request. *ended* means that the connection has been closed, which
    completes a body without a length. Raises ValueError if the bytes are not an HTTP/1 response.
    """
    end = received.find(b"\r\n\r\n", start)
    if end < 0:
        return None
    status, fields = _head(received[start:end].decode("latin-1"))
    if 100 <= status < 200 and status != 101:
        return first_answer(received, end + 4, head=head, ended=ended)
    answer = Answer(status, fields, b"")
    if head or status in {101, 204, 304}:
        return answer, end + 4
    framed = _body(received, end + 4, answer.headers, ended=ended)
    return framed and (answer._replace(body=framed[0]), framed[1])


def answers(received: bytes) -> list[Answer]:
    """Return all responses in *received*; raises ValueError if it holds anything else or half a response."""
    found, end = list[Answer](), 0
    while end < len(received):
        parsed = first_answer(received, end)
        if not parsed:
            raise ValueError(f"not a complete response: {received[end : end + 200]!r}")
        found.append(parsed[0])
        end = parsed[1]
    return found


def _head(text: str) -> tuple[int, list[tuple[str, str]]]:
    line, *lines = text.split("\r\n")
    match = _STATUS_LINE.match(line)
    if not match:
        raise ValueError(f"not a status line: {line[:200]!r}")
    fields = (each.partition(":") for each in lines)
    return int(match[1]), [(name, value.strip()) for name, _, value in fields]


def _body(received: bytes, start: int, fields: dict[str, str], *, ended: bool) -> tuple[bytes, int] | None:
    if fields.get("transfer-encoding", "").lower() == "chunked":
        return _chunked(received, start)
    if "content-length" not in fields:
        return (received[start:], len(received)) if ended else None
    end = start + int(fields["content-length"])
    return (received[start:end], end) if len(received) >= end else None


def _chunked(received: bytes, start: int) -> tuple[bytes, int] | None:
    """Return the decoded body and where its trailers end."""
    body = b""
    while (end := received.find(b"\r\n", start)) >= 0:
        size = int(received[start:end].partition(b";")[0], 16)
        if not size:
            over = received.find(b"\r\n\r\n", end)
            return (body, over + 4) if over >= 0 else None
        body += received[end + 2 : end + 2 + size]
        start = end + 2 + size + 2
    return None


class Connection:
    """A TCP connection to a loopback port, from the address *source* if that is given."""

    def __init__(self, port: int, timeout_s: float = PATIENCE_S, source: str = "") -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout_s, (source, 0))
        self._received = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        """Send *data* as it is."""
        self._socket.sendall(data)

    def finish(self) -> None:
        """Half-close the connection; does nothing if the peer has closed it."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def receive(self) -> bytes:
        """Return what has arrived, waiting for at least one byte; empty once the peer has closed."""
        received, self._received = self._received or self._socket.recv(_RECEIVE_BYTES), b""
        return received

    def rest(self) -> bytes:
        """Return all bytes until the peer closes the connection."""
        received = b""
        with suppress(ConnectionError):
            while chunk := self.receive():
                received += chunk
        return received

    def read(self, *, head: bool = False) -> Answer:
        """Read one final response, *head* if it answers a HEAD.

        Raises ConnectionError if the connection ends first.
        """
        received, end = self._next()
        while not (parsed := first_answer(received, head=head, ended=end is not None)):
            if end:
                raise end
            chunk, end = self._next()
            received += chunk
        self._received = received[parsed[1] :]
        return parsed[0]

    def _next(self) -> tuple[bytes, ConnectionError | None]:
        """Return what arrives next, or nothing and the way in which the connection has ended."""
        try:
            chunk = self.receive()
        except ConnectionResetError as error:
            return b"", error
        return chunk, None if chunk else ConnectionError("closed without an answer")

    def is_closed(self) -> bool:
        """Return whether the peer closes the connection instead of answering."""
        try:
            self.read()
        except ConnectionError:
            return True
        return False

    def call(
        self, target: str = "/", headers: Headers = (), method: str = "GET", body: bytes | None = None
    ) -> Answer:
        """Send one request and read its answer; the headers keep their order."""
        self.send(encoded(target, headers, method, body))
        return self.read(head=method == "HEAD")


def call(
    port: int, target: str = "/", headers: Headers = (), method: str = "GET", body: bytes | None = None
) -> Answer:
    """Send one request on a new connection; see Connection.call."""
    with Connection(port) as connection:
        return connection.call(target, headers, method, body)


def encoded(
    target: str = "/", headers: Headers = (), method: str = "GET", body: bytes | None = None
) -> bytes:
    """Return a request as bytes, with Host and Content-Length added where they are needed."""
    length = () if body is None else (("Content-Length", str(len(body))),)
    fields = [*headers, *length]
    if not any(name.lower() == "host" for name, _ in fields):
        fields.insert(0, ("Host", "localhost"))
    head = "".join(f"{name}: {value}\r\n" for name, value in fields)
    return f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + (body or b"")


def bearer(token: str | None) -> list[tuple[str, str]]:
    """Return the Authorization header for *token*, nothing for None."""
    return [] if token is None else [("Authorization", f"Bearer {token}")]


def forwarded(host: str) -> list[tuple[str, str]]:
    """Return the headers that Traefik adds about a request to *host*."""
    return [("X-Forwarded-Host", host), ("X-Forwarded-Method", "GET"), ("X-Forwarded-Uri", "/")]
