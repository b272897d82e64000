"""Keep what a TOML file held when it was read last, for settings that name such a file."""

from __future__ import annotations

import logging
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Generic, TypeVar

from app import origins

log = logging.getLogger(__name__)
Contents = TypeVar("Contents")


class KeptFile(Generic[Contents]):
    """Keeps the contents of a file, so that workers have those of the master from which they fork.

    *name* is the setting; *fallback* says what becomes of a file that is not valid when it is read again.
    """

    name: ClassVar[str]
    fallback: ClassVar[str]

    def __init__(self, read: Callable[[str], Contents]) -> None:
        self._read = read
        self._path = ""
        self._kept: Contents | None = None
        self._is_expired = False

    def expire(self) -> None:
        """Read the file again on the next load, which then no longer fails."""
        self._is_expired = True

    def load(self, path: str) -> Contents:
        """Return the contents of the file *path*, none if it is ""; raises ValueError on the first load only.

        Later, a file that is not valid is logged, and the last contents stay in use: the service runs then.
        """
        if self._kept is None or self._is_expired or path != self._path:
            self._kept = self._renewed(path)
        self._path, self._is_expired = path, False
        return self._kept

    def _renewed(self, path: str) -> Contents:
        try:
            contents = self._read(path)
        except ValueError as error:
            if self._kept is None or not self._is_expired:
                raise
            self._log_problems(error)
            return self._kept
        if self._is_expired and path:
            log.info("%(file)s was read again", {"file": self.name})
        return contents

    def _log_problems(self, error: ValueError) -> None:
        fields = {"file": self.name, "error": "; ".join(str(error).splitlines())}
        log.error(f"%(file)s is not valid, {self.fallback}: %(error)s", fields)  # noqa: G004 - a constant


def document(path: str, text: str) -> dict[str, Any]:
    """Return the *text* of the file *path*, parsed; raises ValueError."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path!r} is not TOML: {error}") from None
    except RecursionError:
        raise ValueError(f"{path!r} is not TOML: nested too deeply") from None


def text_of(path: str, max_bytes: int = origins.MAX_FILE_BYTES) -> str:
    """Return the text in the file *path*; raises ValueError."""
    try:
        return origins.read(path, max_bytes)
    except ValueError as error:
        raise ValueError(f"{path!r} {error}") from None


@contextmanager
def beginning_with_file(path: str) -> Iterator[None]:
    """Begin the errors of the block, which become ValueErrors, with the file *path* that they are about.

    It is not repeated if it may be a secret in the wrong place.
    """
    try:
        yield
    except (OSError, ValueError) as error:
        shown = f"its file {path!r}" if "/" in path else "its file"
        raise ValueError(f"{shown} {error}") from None
