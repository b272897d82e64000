"""The part of HTTP/2 (RFC 9113, RFC 7541) that one request without a body needs."""

from __future__ import annotations

import socket
from typing import BinaryIO

from devkit.http import Headers

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_HEADERS, _RESET, _SETTINGS, _GOAWAY = 1, 3, 4, 7
_ENDS = 0x5  # END_HEADERS and END_STREAM
_STATUS_200 = b"\x88"  # in the static table


def is_ok(port: int, fields: Headers) -> bool:
    """Send one request with *fields*, including pseudo-header fields; return whether the answer is a 200."""
    block = b"".join(b"\0" + _text(name) + _text(value) for name, value in fields)
    with socket.create_connection(("127.0.0.1", port), 60) as connection:
        connection.sendall(_PREFACE + _frame(_SETTINGS, 0, 0) + _frame(_HEADERS, _ENDS, 1, block))
        return _first_answer(connection.makefile("rb")).startswith(_STATUS_200)


def _text(text: str) -> bytes:
    data = text.encode()
    return _length(len(data)) + data  # without Huffman coding


def _length(number: int) -> bytes:
    """Encode an integer with a prefix of seven bits (RFC 7541 section 5.1)."""
    if number < 127:
        return bytes([number])
    number, more = number - 127, [127]
    while number > 127:
        number, low = number >> 7, number & 127
        more.append(low | 128)
    return bytes([*more, number])


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def _first_answer(reader: BinaryIO) -> bytes:
    """Return the header block of the answer, empty if the stream or the connection is reset."""
    while head := reader.read(9):
        payload = reader.read(int.from_bytes(head[:3], "big"))
        if head[3] == _HEADERS:
            return payload
        if head[3] in {_RESET, _GOAWAY}:
            break
    return b""
