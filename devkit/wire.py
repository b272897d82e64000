"""Raw HTTP/1.1 requests, which may break its rules, and all answers to them."""

from __future__ import annotations

from contextlib import suppress

from devkit.http import Answer, Connection, answers


def request(end: bytes, *fields: bytes, line: bytes = b"GET /auth HTTP/1.1") -> bytes:
    """Return a request of *line*, *fields* and *end*, which includes the end of the head."""
    return b"\r\n".join([line, *fields, end])


def bearer(token: str) -> bytes:
    """Return the Authorization header for *token*."""
    return b"Authorization: Bearer " + token.encode()


def exchange(port: int, data: bytes) -> bytes:
    """Send *data* and nothing more; return all bytes until the server closes the connection."""
    with Connection(port) as connection:
        with suppress(ConnectionResetError, BrokenPipeError):  # closed before it has read all of them
            connection.send(data)
        connection.finish()
        return connection.rest()


def converse(port: int, data: bytes) -> list[Answer]:
    """Send *data* and nothing more; return all answers. Raises ValueError for anything else."""
    return answers(exchange(port, data))
