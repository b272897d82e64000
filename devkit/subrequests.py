"""Recorded sub-requests of real proxies to /auth: devkit/data, written by `python -m devkit.capture`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

DATA = Path(__file__).with_name("data")
_TITLE = b"### "


def heads() -> list[tuple[str, str, bytes]]:
    """Return the proxy, the client and the bytes of each head; the token in them is for a.test."""
    files = sorted((DATA / "subrequests").glob("*.txt"))
    return [(file.stem, client, head) for file in files for client, head in _read(file.read_bytes())]


def clients() -> list[tuple[str, bytes]]:
    """Return the heads that clients send to proxies."""
    return list(_read((DATA / "clients.txt").read_bytes()))


def _read(text: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the title and the head of each request in *text*, with CRLF instead of LF."""
    for part in text.split(b"\n" + _TITLE):
        title, _, head = part.removeprefix(_TITLE).partition(b"\n")
        yield title.decode(), head.rstrip(b"\n").replace(b"\n", b"\r\n") + b"\r\n\r\n"


def write(file: Path, requests: list[tuple[str, bytes]]) -> None:
    """Write *requests* to *file*."""
    parts = [_TITLE + title.encode() + b"\n" + head.replace(b"\r\n", b"\n") for title, head in requests]
    text = b"".join(parts)
    assert list(_read(text)) == requests, f"{file} cannot represent one of the heads"
    file.write_bytes(text)
