"""Read raw settings from the environment, from the files that ``NAME_FILE`` names, and from ``.env``.

See docs/decisions/0004.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Mapping
from io import StringIO
from pathlib import Path
from typing import NamedTuple

from dotenv import dotenv_values
from dotenv.parser import Binding, parse_stream

MAX_FILE_BYTES = 64 * 1024
DOTENV = ".env"
DEFAULT, ENVIRONMENT = "default", "environment"
_LAST_LINE_END = re.compile(r"(\r\n|\n|\r)\Z")


def value(name: str, environ: Mapping[str, str], *, is_secret: bool) -> str:
    """Return the raw value of *name*, "" if it is not set or blank; raises ValueError."""
    found = without_line_end(environ.get(name, ""))
    if path := environ.get(f"{name}_FILE", ""):
        if not is_secret:
            raise ValueError(f"only secrets are read from files; set {name} rather than {name}_FILE")
        if found:
            raise ValueError(f"is set twice, also as {name}_FILE; keep one")
        found = contents(path)
    if not _is_encodable(found):
        raise ValueError("is not UTF-8 text")
    return found


def without_line_end(text: str) -> str:
    """Return *text* without one trailing line end, which editors and ``echo`` add to a secret."""
    return _LAST_LINE_END.sub("", text)


def contents(path: str) -> str:
    """Return the text in *path* without one trailing line end; raises ValueError, naming the file."""
    try:
        return without_line_end(read(path))
    except ValueError as error:
        raise ValueError(f"its file {path!r} {error}") from None


def _is_encodable(text: str) -> bool:
    return not any(
        "\ud800" <= char <= "\udfff" for char in text
    )  # os.environ decodes bytes that are not UTF-8 to these


def read(path: str, max_bytes: int = MAX_FILE_BYTES) -> str:
    """Return the text in *path*; raises ValueError with a message that follows the file's name."""
    try:
        mode = Path(path).stat().st_mode  # before open(), which blocks on a pipe
        if not stat.S_ISREG(mode):
            raise ValueError("is a directory" if stat.S_ISDIR(mode) else "is not a regular file")
        with Path(path).open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise ValueError(f"can't be read: {error.strerror}") from None
    if len(data) > max_bytes:
        raise ValueError(f"holds more than {max_bytes} bytes")
    return _decoded(data)


def _decoded(data: bytes) -> str:
    """Return *data* as text, without the byte order mark that some editors write; raises ValueError."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ValueError(f"is not UTF-8 text in line {line}; save it as UTF-8") from None
    if "\0" in text:
        raise ValueError("is not UTF-8 text: it holds zero bytes, as UTF-16 does; save it as UTF-8")
    return text


def gather() -> dict[str, str]:
    """Return ``.env`` overridden by the environment; raises ValueError if ``.env`` can't be read."""
    return {**literal(), **_environment()}


def literal() -> dict[str, str]:
    """Return the variables in ``.env``, if there is one, without expanding ``$``, which a secret may contain.

    Raises ValueError with a message that follows the file's name.
    """
    found: dict[str, str] = {}
    if not os.path.lexists(DOTENV):
        return found
    for binding in parse_stream(StringIO(read(DOTENV), newline=None)):
        if binding.error or (binding.key and binding.value is None):
            raise ValueError(f"line {_line(binding)} is neither NAME=value nor a comment")
        if binding.key:
            found[binding.key] = binding.value or ""
    return found


def _line(binding: Binding) -> int:
    text = binding.original.string
    return binding.original.line + text[: len(text) - len(text.lstrip())].count("\n")


class Origin(NamedTuple):
    """Where the value of a setting comes from, and the file that holds it if ``NAME_FILE`` names one."""

    place: str
    file: str = ""


def origins(names: Iterable[str]) -> dict[str, Origin]:
    """Return the origin of each of the settings *names*; raises ValueError if ``.env`` can't be read."""
    environment, dotenv = _environment(), literal()
    return {name: _origin(name, environment, dotenv) for name in names}


def _origin(name: str, environment: Mapping[str, str], dotenv: Mapping[str, str]) -> Origin:
    for variable in (f"{name}_FILE", name):
        place = ENVIRONMENT if variable in environment else DOTENV
        if found := without_line_end(environment.get(variable, dotenv.get(variable, ""))):
            return Origin(place, "" if variable == name else found)
    return Origin(DEFAULT)


def _environment() -> dict[str, str]:
    """Return the environment without the variables that the flask command loaded from ``.env``.

    It expands ``$`` in them, so they differ from what ``.env`` holds.
    """
    if os.environ.get("FLASK_RUN_FROM_CLI") != "true":
        return dict(os.environ)
    expanded = dotenv_values(DOTENV)
    return {name: value for name, value in os.environ.items() if expanded.get(name) != value}
