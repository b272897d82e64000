"""Clean up after older versions: a server on a TCP port, which held no lock, and its address in .env."""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from scripts import children

_PROC = Path("/proc")
_ADDRESS = re.compile(r"^(?=[ \t]*(?:export[ \t]+)?REDIS_(?:PORT|PASSWORD)[ \t]*=[ \t]*\S)", re.MULTILINE)


def end_servers(data: Path, port: str | None) -> None:
    """Stop the server on *data*, found by its directory: on its port any process might listen."""
    for process in _servers(data):
        print(f"stopping the Redis server that an older version left behind (process {process})", flush=True)
        children.end(process, signal.SIGTERM)
    children.wait(lambda: not any(_servers(data)), "the Redis server of an older version does not exit")
    if port and not (_PROC / "self").exists() and _listens(port):
        sys.exit(
            f"port {port}, where an older version kept its Redis, is in use. If that server is still there, "
            f"stop it (lsof -i :{port} shows it). Then remove REDIS_PORT from .env"
        )


def without_address(text: str) -> str:
    """Return the *text* of a .env file with the address of such a server commented out."""
    return _ADDRESS.sub("#", text)


def _servers(data: Path) -> Iterator[int]:
    for place in _PROC.glob("[0-9]*"):
        with suppress(OSError):  # the process has exited, or belongs to another user
            is_ours = place.stat().st_uid == os.geteuid() and (place / "cwd").readlink() == data.resolve()
            if is_ours and re.search("redis|valkey", (place / "comm").read_text()):
                yield int(place.name)


def _listens(port: str) -> bool:
    with suppress(OSError, ValueError, OverflowError), socket.create_connection(("127.0.0.1", int(port)), 1):
        return True
    return False
