"""Where the values of settings come from: the environment, the files that it names, and ``.env``."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from io import StringIO
from pathlib import Path

from dotenv import dotenv_values
from dotenv.parser import Binding, parse_stream

_MAX_FILE_BYTES = 64 * 1024
_DOTENV = ".env"
_LAST_LINE_END = re.compile(r"(\r\n|\n|\r)\Z")


def value(name: str, environ: Mapping[str, str], *, is_secret: bool) -> str:
    """Return what is given for *name*, nothing if it is blank; raises ValueError."""
    found = _unended(environ.get(name, ""))
    if path := environ.get(f"{name}_FILE", ""):
        if not is_secret:
            raise ValueError(f"only secrets are read from files; set {name} rather than {name}_FILE")
        if found:
            raise ValueError(f"is set twice, also as {name}_FILE; keep one")
        found = _contents(path)
    if not _is_encodable(found):
        raise ValueError("is no UTF-8 text")
    return found


def _unended(text: str) -> str:
    """Return *text* less one line end: editors, ``echo`` and quotes over two lines leave it there."""
    return _LAST_LINE_END.sub("", text)


def _contents(path: str) -> str:
    try:
        return _unended(_read(path))
    except ValueError as error:
        raise ValueError(f"its file {path!r} {error}") from None


def _is_encodable(text: str) -> bool:
    return not any("\ud800" <= char <= "\udfff" for char in text)  # what os.environ makes of stray bytes


def _read(path: str) -> str:
    """Return the text in *path*; raises ValueError with words that follow its name."""
    try:
        mode = Path(path).stat().st_mode  # first, because opening a pipe waits
        if not stat.S_ISREG(mode):
            raise ValueError("is a directory" if stat.S_ISDIR(mode) else "is no regular file")
        with Path(path).open("rb") as file:
            data = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ValueError(f"can't be read: {error.strerror}") from None
    if len(data) > _MAX_FILE_BYTES:
        raise ValueError(f"holds more than {_MAX_FILE_BYTES} bytes")
    return _decoded(data)


def _decoded(data: bytes) -> str:
    """Return *data* as text, less the mark that some editors begin UTF-8 with."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ValueError(f"is no UTF-8 text in line {line}; save it as UTF-8") from None
    if "\0" in text:
        raise ValueError("is no UTF-8 text: it holds zero bytes, as UTF-16 does; save it as UTF-8")
    return text


def gather() -> dict[str, str]:
    """Return the environment and, below it, what ``.env`` says; raises ValueError if that can't be read."""
    return {**literal(), **_given()}


def literal() -> dict[str, str]:
    """Return what ``.env`` says, if there is one, letter by letter: a ``$`` in a secret is no variable.

    Raises ValueError with words that follow its name.
    """
    found: dict[str, str] = {}
    if not os.path.lexists(_DOTENV):
        return found
    for binding in parse_stream(StringIO(_read(_DOTENV), newline=None)):
        if binding.error or (binding.key and binding.value is None):
            raise ValueError(f"has in line {_line(binding)} neither NAME=value nor a comment")
        if binding.key:
            found[binding.key] = binding.value or ""
    return found


def _line(binding: Binding) -> int:
    text = binding.original.string
    return binding.original.line + text[: len(text) - len(text.lstrip())].count("\n")


def _given() -> dict[str, str]:
    """Return the environment without what the flask command put there: ``.env`` with its ``$`` expanded."""
    if os.environ.get("FLASK_RUN_FROM_CLI") != "true":
        return dict(os.environ)
    expanded = dotenv_values(_DOTENV)
    return {name: value for name, value in os.environ.items() if expanded.get(name) != value}
