"""A TCP server that serves in threads while a block runs."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Mapping
from io import BufferedIOBase
from typing import BinaryIO, Self


class Server(socketserver.ThreadingTCPServer):
    """A server on a loopback port, by default a free one."""

    allow_reuse_address = daemon_threads = True
    request_queue_size = 128

    def __init__(self, handler: type[socketserver.BaseRequestHandler], port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), handler)
        self.port = int(self.server_address[1])
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join()


def read_body(reader: BinaryIO | BufferedIOBase, fields: Mapping[str, str]) -> bytes:
    """Return the body of a request with these header fields, whose names are in lower case."""
    if fields.get("transfer-encoding") != "chunked":
        return reader.read(int(fields.get("content-length", 0)))
    body = b""
    while size := int(reader.readline().split(b";")[0], 16):
        body += reader.read(size)
        reader.readline()
    reader.readline()
    return body
