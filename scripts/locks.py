"""Locks whose holder the kernel names: like a PID file, but never stale (docs/decisions/0017)."""

from __future__ import annotations

import fcntl
import os
import struct
import sys
from pathlib import Path

UNNAMED = 0
# struct flock of fcntl(2): type, whence, start, length, process; or start, length, process, type, whence.
_IS_LINUX = sys.platform == "linux"
_FLOCK = "hhqqi" if _IS_LINUX else "qqihh"


class Locks:
    """A file each of whose bytes one process can lock, until it exits in any way."""

    def __init__(self, path: Path) -> None:
        # Opened only once, because closing any descriptor of the file releases all locks of the process.
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)

    def take(self, number: int) -> bool:
        """Lock byte *number* for this process, but not for its children; return False if it is locked."""
        try:
            fcntl.lockf(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
        except (BlockingIOError, PermissionError):
            return False
        return True

    def holder(self, number: int) -> int | None:
        """Return the process that has locked byte *number*, UNNAMED if it is elsewhere or in a container."""
        answer = fcntl.fcntl(self.descriptor, fcntl.F_GETLK, _packed(fcntl.F_WRLCK, number))
        kind, process = _unpacked(answer)
        if kind == fcntl.F_UNLCK:
            return None
        return max(process, UNNAMED)


def _packed(kind: int, number: int) -> bytes:
    place = (number, 1, 0)
    how = (kind, os.SEEK_SET)
    return struct.pack(_FLOCK, *(how + place if _IS_LINUX else place + how))


def _unpacked(answer: bytes) -> tuple[int, int]:
    fields = struct.unpack(_FLOCK, answer)
    return (fields[0], fields[4]) if _IS_LINUX else (fields[3], fields[2])
