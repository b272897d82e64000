"""HTTP by hand: any bytes out, all answers back."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from typing import NamedTuple

_HEAD = re.compile(rb"HTTP/1\.\d (\d{3})[^\r\n]*\r\n(?:.+?\r\n)*?\r\n")
_LENGTH = re.compile(rb"^content-length: *(\d+)", re.IGNORECASE | re.MULTILINE)
_ID = re.compile(rb"^x-auth-token-id: *(\S+)", re.IGNORECASE | re.MULTILINE)


class Reply(NamedTuple):
    """One answer: its status, and whose token it allowed."""

    status: int
    token_id: str = ""


def request(end: bytes, *fields: bytes, line: bytes = b"GET /auth HTTP/1.1") -> bytes:
    """Return a request of *line*, *fields* and *end*, which brings the end of the head."""
    return b"\r\n".join([line, *fields, end])


def bearer(token: str) -> bytes:
    """Return the line that presents *token*."""
    return b"Authorization: Bearer " + token.encode()


def converse(port: int, data: bytes) -> list[Reply]:
    """Send *data* and nothing more; return all answers until the server closes the connection."""
    with socket.create_connection(("127.0.0.1", port), 60) as connection:
        return list(replies(_received(connection, data)))


def _received(connection: socket.socket, data: bytes) -> bytes:
    received = b""
    try:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        while chunk := connection.recv(65_536):
            received += chunk
    except (ConnectionResetError, BrokenPipeError):
        pass  # closed with our bytes unread
    return received


def first_status(received: bytes) -> int | None:
    """Return the status of the first final answer in *received*, None while it is incomplete."""
    head = _HEAD.match(received)
    if not head:
        return None
    length, end = _LENGTH.search(head[0]), head.end()
    if head[1] == b"100":
        return first_status(received[end:])
    return int(head[1]) if len(received) >= end + (int(length[1]) if length else 0) else None


def replies(received: bytes) -> Iterator[Reply]:
    """Yield the answers in *received*; raises ValueError if it is anything else."""
    at = 0
    while at < len(received):
        head = _HEAD.match(received, at)
        if not head:
            raise ValueError(f"no answer: {received[at : at + 200]!r}")
        length, token_id = _LENGTH.search(head[0]), _ID.search(head[0])
        yield Reply(int(head[1]), token_id[1].decode() if token_id else "")
        at = head.end() + (int(length[1]) if length else 0)
