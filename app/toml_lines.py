"""Find the lines of a TOML document on which its keys are, which ``tomllib`` does not tell."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any

Path = tuple[str, ...]


def lines_of(text: str) -> dict[Path, int]:
    """Return the line on which each table and each key of a valid document first occurs."""
    found: dict[Path, int] = {}
    table: Path = ()
    for number, statement in _statements(text):
        paths = list(_paths(tomllib.loads(statement)))
        is_header = statement.lstrip().startswith("[")
        for path in paths:
            found.setdefault(path if is_header else table + path, number)
        table = max(paths, key=len) if is_header else table
    return found


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Yield each statement with its first line; lines belong together until they are TOML by themselves."""
    first, statement = 1, ""
    for number, line in enumerate(text.split("\n"), 1):
        statement += f"{line}\n"
        try:
            tomllib.loads(statement)
        except tomllib.TOMLDecodeError:
            continue
        yield first, statement
        first, statement = number + 1, ""


def _paths(value: Any, path: Path = ()) -> Iterator[Path]:
    """Yield the path of each key in *value*, outer ones first."""
    for key, inner in value.items() if isinstance(value, dict) else ():
        yield (*path, key)
        yield from _paths(inner[-1] if isinstance(inner, list) and inner else inner, (*path, key))
