"""Finds secrets where none may be: in the log lines of a test, and in the log of a service that it starts."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator

from app.core import tokens
from app.core.peppers import Peppers

_SECRET_CHARS = 38  # without the prefix; the last six are a checksum of the others
_PART_CHARS = 24  # a secret that lacks the rest can be guessed
_RUN = re.compile(f"[0-9A-Za-z]{{{_PART_CHARS},}}")
_MIN_WORD_CHARS = 12  # shorter settings of tests are words that a message may contain

_OURS = "app"
_parts: set[str] = set()
_sent: set[str] = set()  # by the current test, of any shape


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


def remember_all() -> None:
    """Remember every secret that this process mints, and for the current test every one that it checks."""
    mint_many, digest = tokens.mint_many, Peppers.digest

    def minting(prefix: str) -> Iterator[str]:
        for secret in mint_many(prefix):
            remember(secret)
            yield secret

    def checking(self: Peppers, secret: str) -> str:
        _sent.add(secret)
        return digest(self, secret)

    tokens.mint_many = minting
    Peppers.digest = checking  # type: ignore[method-assign]


class Watch:
    """Reads every record that this process logs, those of our loggers at every level."""

    def __init__(self, words: Iterable[str]) -> None:
        self._words = [*words]
        self._lines: list[str] = []

    def install(self) -> None:
        """Read all records from now on; those below the usual level go no further."""
        logging.getLogger(_OURS).setLevel(logging.DEBUG)
        root, call_handlers = logging.getLogger(), logging.Logger.callHandlers

        def read(logger: logging.Logger, record: logging.LogRecord) -> None:
            self.read(record)
            is_apart = logger.parent is None
            if is_apart or record.levelno >= root.level or record.name.partition(".")[0] != _OURS:
                call_handlers(logger, record)

        logging.Logger.callHandlers = read  # type: ignore[assignment, method-assign]

    def read(self, record: logging.LogRecord) -> None:
        """Read *record*, its arguments and the message of its exception."""
        named = record.args.values() if isinstance(record.args, dict) else ()
        parts = [record.getMessage(), *named, *(record.exc_info or ())[1:2]]
        line = " ".join(map(str, parts))
        if leaks(line, [*self._words, *_sent]):
            self._lines.append(line)

    def take(self) -> list[str]:
        """Return the lines with secrets since the last call, and forget what the current test has sent."""
        lines, self._lines = self._lines, []
        _sent.clear()
        return lines
