"""Finds secrets where none may be: in the log lines of a test, and in the log of a service that it starts."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from app.core import tokens

_SECRET_CHARS = 38  # without the prefix; the last six are a checksum of the others
_PART_CHARS = 24  # a secret that lacks the rest can be guessed
_RUN = re.compile(f"[0-9A-Za-z]{{{_PART_CHARS},}}")
_MIN_WORD_CHARS = 12  # shorter settings of tests are words that a message may contain

_parts: set[str] = set()


def remember(secret: str) -> None:
    """Look for the beginning of *secret* too, from now on; a complete secret is known by its checksum."""
    if runs := _RUN.findall(secret):
        _parts.add(runs[-1][:_PART_CHARS])


def leaks(text: str, words: Iterable[str] = ()) -> list[str]:
    """Return the secrets in *text*: those of tokens, complete or not, and *words* such as passwords."""
    found = [word for word in words if len(word) >= _MIN_WORD_CHARS and word in text]
    for run in _RUN.findall(text):
        parts = (run[at : at + _SECRET_CHARS] for at in range(len(run) - _PART_CHARS + 1))
        found += [part for part in parts if _is_secret(part)]
    return found


def _is_secret(part: str) -> bool:
    if part[:_PART_CHARS] in _parts:
        return True
    return len(part) == _SECRET_CHARS and tokens.checksum(part[:-6]) == part[-6:]


def expect_none(text: str, words: Iterable[str] = ()) -> None:
    """Raise AssertionError with the lines of *text* that have secrets."""
    words = [*words]
    lines = [line for line in text.splitlines() if leaks(line, words)] if leaks(text, words) else []
    assert not lines, f"secrets in the log: {lines[:3]}"


def remember_minted() -> None:
    """Remember every secret that this process mints from now on."""
    mint_many = tokens.mint_many

    def remembering(prefix: str) -> Iterator[str]:
        for secret in mint_many(prefix):
            remember(secret)
            yield secret

    tokens.mint_many = remembering


class Watch(logging.Handler):
    """Reads every record of our loggers, whatever their level, and passes on what would be logged anyway."""

    def __init__(self, words: Iterable[str]) -> None:
        super().__init__()
        self._words = [*words]
        self._lines: list[str] = []

    def install(self, logger: logging.Logger) -> None:
        """Read the records of *logger* and of those below it."""
        logger.setLevel(logging.DEBUG)
        logger.propagate = False
        logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Read *record*, its arguments and the message of its exception."""
        named = record.args.values() if isinstance(record.args, dict) else ()
        parts = [record.getMessage(), *named, *(record.exc_info or ())[1:2]]
        line = " ".join(map(str, parts))
        if leaks(line, self._words):
            self._lines.append(line)
        root = logging.getLogger()
        if record.levelno >= root.level:
            root.callHandlers(record)

    @contextmanager
    def expecting_none(self) -> Iterator[None]:
        """Raise AssertionError at the end of a block in which a secret was logged."""
        self._lines.clear()
        yield
        assert not self._lines, f"secrets in the log: {self._lines[:3]}"
