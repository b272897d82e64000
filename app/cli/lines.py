"""The lines of a file that is read twice, and a file that appears whole or not at all."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryFile
from typing import IO, BinaryIO

import click

from app.core.copy_values import Line

# Longer than any line of an export: a record has 64 KiB, of which JSON makes six times as much.
MAX_LINE_BYTES = 2**20
STANDARD = "-"


@contextmanager
def opened(name: str) -> Iterator[BinaryIO]:
    """Open the file *name*; standard input or a pipe is copied first to a file that nobody else can open."""
    with nullcontext(sys.stdin.buffer) if name == STANDARD else Path(name).open("rb") as file:
        if name != STANDARD and file.seekable():
            yield file
            return
        with TemporaryFile() as spool:
            shutil.copyfileobj(file, spool)
            yield spool


def lines(file: BinaryIO) -> Iterator[Line]:
    """Yield the lines of *file* from its beginning; at most 1 MiB of a line is in memory."""
    file.seek(0)
    number = 0
    while text := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(text) > MAX_LINE_BYTES:
            _skip(file, text)
            yield Line(number, "", f"longer than {MAX_LINE_BYTES} bytes")
        else:
            yield _decoded(number, text)


def _skip(file: BinaryIO, text: bytes) -> None:
    while text and not text.endswith(b"\n"):
        text = file.readline(MAX_LINE_BYTES)


def _decoded(number: int, text: bytes) -> Line:
    try:
        return Line(number, text.decode("utf-8-sig" if number == 1 else "utf-8"))
    except UnicodeDecodeError:
        return Line(number, "", "not UTF-8 text")


@contextmanager
def replaced(name: str) -> Iterator[IO[str]]:
    """Open a new file, which gets *name* when it is complete, and which only its owner can read."""
    path = Path(name)
    if path.exists() and not path.is_file():
        raise click.BadParameter("not a file; - is standard output", param_hint="FILE")
    with NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            Path(file.name).replace(path)
        except BaseException:
            with suppress(OSError):
                Path(file.name).unlink()
            raise
