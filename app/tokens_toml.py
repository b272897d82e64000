"""Read the tokens that a file in TOML declares (docs/tokens-file.md)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from app import origins
from app.core.declared import DECLARABLE, KEY, KEY_RULE, Declarations, Declared, InvalidFileError
from app.core.fields import FIELDS
from app.core.tokens import DIGEST
from app.kept_file import beginning_with_file, document, text_of
from app.toml_lines import lines_of

MAX_BYTES = 1024 * 1024
# What is no plain word may be a secret in the wrong place, which must not be repeated.
_WORD = re.compile("[a-z_]{1,30}|[A-Za-z0-9_-]{1,19}", re.ASCII)
_OTHERS_MAY = 0o007
_KNOWN = (*DECLARABLE, "enabled", "sha256", "secret_file")
_NO_TABLE = "a table for each token is needed, such as [tokens.ci]; [tokens] alone is none"
_ADVICE = {
    "ttl_seconds": "would move the end each time that the file is applied; set expires_at",
    "secret": "a secret does not belong in this file; set secret_file, or sha256",
    "token": "a secret does not belong in this file; set secret_file, or sha256",
}
_AT_END, _AT_LINE = "(at end of document)", re.compile(r"\(at line ([0-9]+), ")
_NAMED = re.compile(rf"\s*(?:\[\s*(tokens\.\S{{1,66}})\s*\]|({'|'.join(_KNOWN)})\s*=)")


def read(path: str) -> Declarations:
    """Return the tokens in the file *path*, none if it is ""; raises InvalidFileError."""
    if not path:
        return Declarations()
    try:
        text = text_of(path, MAX_BYTES)
    except ValueError as error:
        raise InvalidFileError([str(error)]) from None
    return parse(text, path, Path(path).parent)


def parse(text: str, path: str, folder: Path) -> Declarations:
    """Return the tokens in the *text* of the file *path*, whose paths begin at *folder*.

    Raises InvalidFileError.
    """
    try:
        parsed = _parsed(path, text)
    except ValueError as error:
        raise InvalidFileError([str(error)]) from None
    reading = _Reading(folder, text)
    reading.file(parsed)
    if reading.problems:
        raise InvalidFileError(reading.problems)
    return Declarations(tuple(reading.tokens), is_given=True)


def _parsed(path: str, text: str) -> dict[str, Any]:
    """Return the parsed file; raises ValueError, which names the line and the key on it."""
    lines = text.rstrip("\n").split("\n")
    try:
        return document(path, text)
    except ValueError as error:
        message = str(error).replace(_AT_END, f"(at line {len(lines)}, the last one)")
        found = _AT_LINE.search(message)
        named = _NAMED.match(lines[min(int(found[1]), len(lines)) - 1]) if found else None
        raise ValueError(f"{message}{f': {named[1] or named[2]}' if named else ''}") from None


class _Reading:
    """Collects the tokens and every problem of one file, whose relative paths begin at *folder*."""

    def __init__(self, folder: Path, text: str) -> None:
        self._folder = folder
        self._text = text
        self.tokens: list[Declared] = []
        self.problems: list[str] = []

    @contextmanager
    def _at(self, *path: str) -> Iterator[None]:
        """Note a ValueError of the block as a problem with the key at *path*."""
        try:
            yield
        except ValueError as error:
            is_key = KEY.fullmatch(path[1]) if path[1:] else False
            shown = ".".join(n if _WORD.fullmatch(n) or (is_key and n == path[1]) else "…" for n in path)
            self.problems.append(f"line {self._line(*path)}, {shown}: {error}")

    @cached_property
    def _lines(self) -> Mapping[tuple[str, ...], int]:
        return lines_of(self._text)  # takes longer than all the rest, so only a problem needs it

    def _line(self, *path: str) -> int:
        """Return the line of the key at *path*, or of the closest one around it."""
        while path not in self._lines and path:
            path = path[:-1]
        return self._lines.get(path, 1)

    def file(self, parsed: Mapping[str, Any]) -> None:
        """Read a parsed file."""
        for name in sorted(parsed.keys() - {"tokens"}):
            with self._at(name):
                raise ValueError("unknown name; each token is a table such as [tokens.ci]")
        with self._at("tokens"):
            if not isinstance(tables := parsed.get("tokens"), dict):
                raise ValueError(_NO_TABLE)  # noqa: TRY004 - a problem of the file
            for key, table in tables.items():
                self._token(key, table)

    def _token(self, key: str, table: object) -> None:
        before = len(self.problems)
        with self._at("tokens", key):
            if not KEY.fullmatch(key):
                raise ValueError(KEY_RULE)
            if not isinstance(table, dict):
                raise ValueError(f"a table is needed: [tokens.{key}]")  # noqa: TRY004 - a problem of the file
            declared = self._declared(key, table)
            if len(self.problems) == before:
                self.tokens.append(declared)

    def _declared(self, key: str, table: Mapping[str, Any]) -> Declared:
        place, typed, enabled = ("tokens", key), dict[str, str](), None
        for name, value in table.items():
            with self._at(*place, name):
                _refuse_unknown(name, value)
                if name in DECLARABLE:
                    typed[name] = _typed(name, value)
        with self._at(*place, "enabled"):
            enabled = _switch(table.get("enabled"))
        if "hosts" not in table:
            with self._at(*place):
                raise ValueError('hosts are needed, such as hosts = ["app.example.com"]')
        digest, secret = self._secret(place, table)
        return Declared(key, typed, digest, secret, enabled, partial(self._line, *place))

    def _secret(self, place: tuple[str, str], table: Mapping[str, Any]) -> tuple[str, str]:
        """Return the digest or the secret of a token, and note what is wrong with it."""
        with self._at(*place):
            if ("sha256" in table) == ("secret_file" in table):
                raise ValueError("one of sha256 and secret_file is needed, and not both")
        digest = secret = ""
        if "sha256" in table:
            with self._at(*place, "sha256"):
                digest = _digest(table["sha256"])
        if "secret_file" in table:
            with self._at(*place, "secret_file"):
                secret = _secret_in(table["secret_file"], self._folder)
        return digest, secret


def _refuse_unknown(name: str, value: object) -> None:
    if name in _ADVICE:
        raise ValueError(_ADVICE[name])
    if name not in _KNOWN:
        hint = "; quote a key that contains a dot" if isinstance(value, dict) else ""
        raise ValueError(f"unknown name; known are {', '.join(_KNOWN)}{hint}")


def _typed(name: str, value: object) -> str:
    """Return a value as an operator would type it; raises ValueError if the field can't have it."""
    kind = FIELDS[name].kind
    try:
        typed = kind.from_json(value.isoformat() if isinstance(value, date) else value)
        kind.parse(typed)
    except ValueError as error:
        raise ValueError(str(error).removesuffix(", or null")) from None  # TOML has no null
    return typed


def _switch(value: object) -> bool | None:
    if not isinstance(value, bool | None):
        raise ValueError("true or false")  # noqa: TRY004 - a problem of the file
    return value


def _digest(value: object) -> str:
    """Return a digest; raises ValueError, which does not repeat what may be a secret."""
    if not (isinstance(value, str) and DIGEST.fullmatch(value.lower())):
        raise ValueError("64 hexadecimal digits, as `flask tokens digest` prints them for a secret")
    return value.lower()


def _secret_in(value: object, folder: Path) -> str:
    """Return the secret in a file; raises ValueError, which does not repeat what may be a secret."""
    if not (isinstance(value, str) and value):
        raise ValueError("the path of a file is needed")
    path = folder / value
    with beginning_with_file(value):
        secret = origins.without_line_end(origins.read(str(path)))
        mode = path.stat().st_mode
        if mode & _OTHERS_MAY:
            raise ValueError(
                f"is open to every user (mode {mode & 0o777:04o}); take that away: chmod o= on it"
            )
        if not secret.strip():
            raise ValueError("is empty")
    return secret
