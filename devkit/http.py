"""HTTP/1.1 by hand: any request out, whole answers back."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable
from contextlib import suppress
from http.client import parse_headers
from typing import Any, NamedTuple, Self

Headers = Iterable[tuple[str, str]]


class Answer(NamedTuple):
    """One HTTP response; ``all`` keeps repeated fields, ``headers`` has lower-case names."""

    status: int
    all: list[tuple[str, str]]
    body: bytes

    @property
    def headers(self) -> dict[str, str]:
        """Return the fields by lower-case name, repeated ones joined with a comma."""
        names = dict.fromkeys(name.lower() for name, _ in self.all)
        return {name: ", ".join(v for n, v in self.all if n.lower() == name) for name in names}

    @property
    def text(self) -> str:
        """Return the body as text."""
        return self.body.decode()

    def json(self) -> Any:
        """Return what the body says in JSON."""
        return json.loads(self.body)


class Connection:
    """A TCP connection to a loopback port that sends any bytes and reads HTTP/1.1 responses."""

    def __init__(self, port: int, timeout_s: float = 60) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout_s)
        self._reader = self._socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.close()
        self._socket.close()

    def send(self, data: bytes) -> None:
        """Send *data* as it is."""
        self._socket.sendall(data)

    def finish(self) -> None:
        """Send nothing more; raises nothing if the other side has ended the connection."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def rest(self) -> bytes:
        """Return all that comes until the end."""
        received = b""
        with suppress(ConnectionError):
            while chunk := self._reader.read1():
                received += chunk
        return received

    def read(self, *, head: bool = False) -> Answer:
        """Read one final response, *head* if it answers a HEAD; raises ConnectionError if there is none."""
        line = self._reader.readline()
        if not line:
            raise ConnectionError("closed without an answer")
        fields, status = parse_headers(self._reader), int(line.split()[1])
        if status == 100:
            return self.read(head=head)
        if head or status in {101, 204, 304}:
            return Answer(status, fields.items(), b"")
        if fields.get("Transfer-Encoding") == "chunked":
            return Answer(status, fields.items(), _dechunked(self._reader))
        length = fields.get("Content-Length")
        return Answer(status, fields.items(), self._reader.read(int(length) if length else -1))

    def is_closed(self) -> bool:
        """Tell whether the other side ends the connection rather than answers."""
        try:
            self.read()
        except ConnectionError:
            return True
        return False

    def call(
        self, target: str = "/", headers: Headers = (), method: str = "GET", body: bytes | None = None
    ) -> Answer:
        """Send one request as ask does and read its answer."""
        self.ask(target, headers, method, body)
        return self.read(head=method == "HEAD")

    def ask(
        self, target: str = "/", headers: Headers = (), method: str = "GET", body: bytes | None = None
    ) -> None:
        """Send one request, its headers as given and in that order."""
        length = () if body is None else (("Content-Length", str(len(body))),)
        fields = [*headers, *length]
        if not any(name.lower() == "host" for name, _ in fields):
            fields.insert(0, ("Host", "localhost"))
        head = "".join(f"{name}: {value}\r\n" for name, value in fields)
        self.send(f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + (body or b""))


def call(
    port: int, target: str = "/", headers: Headers = (), method: str = "GET", body: bytes | None = None
) -> Answer:
    """Send one request on a connection of its own; see Connection.call."""
    with Connection(port) as connection:
        return connection.call(target, headers, method, body)


def _dechunked(reader: Any) -> bytes:
    body = b""
    while size := int(reader.readline().split(b";")[0], 16):
        body += reader.read(size)
        reader.readline()
    reader.readline()
    return body


def bearer(token: str | None) -> list[tuple[str, str]]:
    """Return the header that presents *token*, if any."""
    return [] if token is None else [("Authorization", f"Bearer {token}")]


def forwarded(host: str) -> list[tuple[str, str]]:
    """Return what Traefik says of a request to *host*."""
    return [("X-Forwarded-Host", host), ("X-Forwarded-Method", "GET"), ("X-Forwarded-Uri", "/")]
