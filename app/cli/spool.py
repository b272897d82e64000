"""Keep on disk what a second pass needs of the first, however much that is."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator
from tempfile import TemporaryFile
from typing import Generic, Self, TypeVar

_T = TypeVar("_T")


class Spool(Generic[_T]):
    """Keeps objects in a file without a name, which only this process can open."""

    def __init__(self) -> None:
        self._file = TemporaryFile()  # noqa: SIM115 - __exit__ closes it

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def keep(self, found: Iterable[_T]) -> Iterator[_T]:
        """Yield what is *found*, and keep it."""
        for each in found:
            pickle.dump(each, self._file, pickle.HIGHEST_PROTOCOL)
            yield each

    def kept(self) -> Iterator[_T]:
        """Yield all that is kept, in its order."""
        self._file.seek(0)
        while True:
            try:
                yield pickle.load(self._file)  # noqa: S301 - this process wrote it
            except EOFError:
                return
