"""Secrets in the binary format of Kubernetes (protobuf), in which kubectl and helm send them."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from typing import Any

_MAGIC = b"k8s\0"
_LENGTH_DELIMITED = 2


def secret(sent: bytes) -> dict[str, Any]:
    """Return the Secret in *sent*; raises ValueError for anything else."""
    if not sent.startswith(_MAGIC):
        raise ValueError("not in the binary format")
    envelope = dict(_fields(sent[len(_MAGIC) :]))
    if dict(_fields(envelope[1]))[2] != b"Secret":
        raise ValueError("not a Secret")
    raw = [*_fields(envelope[2])]
    (metadata,) = [value for number, value in raw if number == 1]
    data = [dict(_fields(value)) for number, value in raw if number == 2]
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": _metadata(metadata),
        "data": {entry[1].decode(): b64encode(entry.get(2, b"")).decode() for entry in data},
        "type": dict(raw).get(3, b"Opaque").decode(),
    }


def _metadata(raw: bytes) -> dict[str, Any]:
    fields = [*_fields(raw)]
    labels = [dict(_fields(value)) for number, value in fields if number == 11]
    return {
        "name": dict(fields)[1].decode(),
        "labels": {entry[1].decode(): entry.get(2, b"").decode() for entry in labels},
    }


def _fields(raw: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the number and the content of each field that has a length; the others are numbers."""
    at = 0
    while at < len(raw):
        key, at = _varint(raw, at)
        length, at = _varint(raw, at)
        if key % 8 == _LENGTH_DELIMITED:
            yield key // 8, raw[at : at + length]
            at += length


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    """Return the number at a position, and where it ends."""
    number, shift = 0, 0
    while True:
        number |= (raw[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if raw[at - 1] < 0x80:
            return number, at
