"""A backend that tells what reached it."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import NamedTuple, Self

from devkit.http import _dechunked


class Seen(NamedTuple):
    """A request as it reached the backend."""

    method: str
    path: str
    headers: list[tuple[str, str]]


class Backend:
    """An HTTP server in threads that answers with the request as JSON, to an upgrade with 101."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self._server = _EchoServer(("127.0.0.1", 0), _Echo)
        self._server.seen = self.seen
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def hits(self) -> int:
        """Return how many requests have come."""
        return len(self.seen)


_SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"


class _EchoServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 128
    seen: list[Seen]


class _Echo(socketserver.StreamRequestHandler):
    server: _EchoServer
    timeout = 30

    def handle(self) -> None:
        with suppress(OSError):
            while line := self.rfile.readline().decode("latin-1").split():
                self._answer(Seen(line[0], line[1], list(self._fields())))

    def _fields(self) -> Iterator[tuple[str, str]]:
        while line := self.rfile.readline().decode("latin-1").rstrip("\r\n"):
            name, _, value = line.partition(":")
            yield name, value.strip()

    def _answer(self, seen: Seen) -> None:
        self.server.seen.append(seen)
        fields = {name.lower(): value for name, value in seen.headers}
        if "upgrade" in fields:
            self.wfile.write(_SWITCHING)
            return
        self._skip_body(fields)
        body = json.dumps(seen._asdict()).encode()
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
        self.wfile.write(head + (b"" if seen.method == "HEAD" else body))  # at once, or Nagle waits 40 ms

    def _skip_body(self, fields: Mapping[str, str]) -> None:
        if fields.get("transfer-encoding") == "chunked":
            _dechunked(self.rfile)
        self.rfile.read(int(fields.get("content-length", 0)))
