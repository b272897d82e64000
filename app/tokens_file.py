"""Keep TOKENS_FILE for the workers, of which one applies it (docs/decisions/0030)."""

from __future__ import annotations

import os
from dataclasses import replace
from mmap import mmap

from app.core.declared import Declarations
from app.kept_file import KeptFile
from app.tokens_toml import read


class TokensFile(KeptFile[Declarations]):
    """Keeps the tokens of TOKENS_FILE, and which worker of this master applies them.

    Each version of the file has its own memory, shared with the workers: those that still stop after a reload
    have the old version.
    """

    name = "TOKENS_FILE"
    fallback = "nothing was changed"

    _PID, _DONE = 0, 1

    def load(self, path: str) -> Declarations:
        """Return the tokens in the file *path*, as ``KeptFile.load`` does, and have them applied anew."""
        before, is_late = self._kept, self._is_expired and self._kept is not None
        contents = super().load(path)
        if contents is not before:
            self._state = memoryview(mmap(-1, 16)).cast("Q")
            self._kept = replace(contents, is_late=is_late)
        return self._kept or contents

    def take_charge(self) -> bool:
        """Return whether this process is to apply the file, because no other one that is alive does."""
        pid = self._state[self._PID]
        if pid not in (0, os.getpid()) and _is_alive(pid):
            return False
        self._state[self._PID] = os.getpid()
        return True

    @property
    def is_done(self) -> bool:
        """Return whether a process has applied the file."""
        return bool(self._state[self._DONE])

    def finish(self) -> None:
        """Note that the file is applied."""
        self._state[self._DONE] = 1


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


SHARED = TokensFile(read)
