"""A backend that keeps and returns every request it receives."""

from __future__ import annotations

import json
import socketserver
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from devkit.server import Server, read_body


class Seen(NamedTuple):
    """A request as it reached the backend; *path* is all between the first and the last space."""

    method: str
    path: str
    headers: list[tuple[str, str]]

    @property
    def fields(self) -> dict[str, str]:
        """Return the headers by lower-case name."""
        return {name.lower(): value for name, value in self.headers}


class EchoHandler(socketserver.StreamRequestHandler):
    """Answers with the request as JSON, and an upgrade with 101."""

    server: Backend
    timeout = 30

    def handle(self) -> None:
        """Answer requests until the client closes the connection."""
        with suppress(OSError):
            while line := self.rfile.readline().decode("latin-1").rstrip("\r\n"):
                method, _, rest = line.partition(" ")
                self.answer(Seen(method, rest.rpartition(" ")[0], list(self._headers())))

    def _headers(self) -> Iterator[tuple[str, str]]:
        while line := self.rfile.readline().decode("latin-1").rstrip("\r\n"):
            name, _, value = line.partition(":")
            yield name, value.strip(" \t")

    def answer(self, seen: Seen) -> None:
        """Answer one request."""
        self.server.seen.append(seen)
        if "upgrade" in seen.fields:
            self.wfile.write(_SWITCHING)
            return
        read_body(self.rfile, seen.fields)
        body = json.dumps(seen._asdict()).encode()
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
        # In one write, because Nagle's algorithm would delay the second one by 40 ms.
        self.wfile.write(head + (b"" if seen.method == "HEAD" else body))


_SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"


class Backend(Server):
    """An HTTP server that keeps the requests it has received in *seen*."""

    def __init__(self, handler: type[EchoHandler] = EchoHandler) -> None:
        super().__init__(handler)
        self.seen: list[Seen] = []

    @property
    def hits(self) -> int:
        """Return how many requests have been received."""
        return len(self.seen)
