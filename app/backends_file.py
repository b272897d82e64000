"""Read BACKENDS_FILE: the headers that backends receive, in TOML. See docs/backends.md."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from app import origins
from app.core.backends import NONE, Added, Backends, check_name, check_size, check_value, is_name, spelling
from app.core.hosts import parse_pattern
from app.kept_file import KeptFile, beginning_with_file, document, text_of

_WORD = re.compile("[a-z_]{1,20}", re.ASCII)
_EXAMPLE = '{ file = "/run/secrets/key", prefix = "Bearer " }'


class BackendsFile(KeptFile[Backends]):
    """Keeps the table of BACKENDS_FILE."""

    name = "BACKENDS_FILE"
    fallback = "the last table stays in use"


def read(path: str) -> Backends:
    """Return the table in the file *path*, none if it is ""; raises ValueError with one line per problem."""
    if not path:
        return NONE
    reading = _Reading(Path(path).parent)
    reading.file(document(path, text_of(path)))
    if reading.problems:
        raise ValueError("\n".join(reading.problems))
    return Backends(reading.table)


class _Reading:
    """Collects the table and every problem of one file, whose relative paths begin at *folder*."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.table: dict[str, Added] = {}
        self.problems: list[str] = []

    @contextmanager
    def _at(self, place: str) -> Iterator[None]:
        """Note a ValueError of the block as a problem at *place*."""
        try:
            yield
        except ValueError as error:
            self.problems.append(f"{place}: {error}")

    def file(self, document: Mapping[str, Any]) -> None:
        """Read a parsed file."""
        self._know("the top level", document, {"backend"})
        backends = document.get("backend")
        if not (isinstance(backends, list) and backends and all(isinstance(each, dict) for each in backends)):
            self.problems.append("backend: at least one [[backend]] is needed, and nothing else by that name")
            return
        for number, backend in enumerate(backends, 1):
            self._backend(f"backend {number}", backend)

    def _know(self, place: str, table: Mapping[str, Any], keys: set[str]) -> None:
        for key in sorted(table.keys() - keys):
            self.problems.append(f"{place}: {_unknown(key)}")

    def _backend(self, place: str, backend: Mapping[str, Any]) -> None:
        self._know(place, backend, {"hosts", "headers"})
        added = self._headers(f"{place}, headers", backend.get("headers"))
        hosts = backend.get("hosts")
        if not (isinstance(hosts, list) and hosts):
            self.problems.append(f'{place}, hosts: a list is needed, such as ["openai.example.com"]')
            return
        for host in hosts:
            with self._at(f"{place}, hosts"):
                self._host(host, added)

    def _host(self, host: object, added: Added) -> None:
        if not isinstance(host, str):
            raise ValueError("each host must be a string")  # noqa: TRY004 - a problem of the file
        pattern = parse_pattern(host)
        if pattern in self.table:
            raise ValueError(f"{host!r} is listed twice")
        self.table[pattern] = added

    def _headers(self, place: str, headers: object) -> Added:
        if not (isinstance(headers, dict) and headers):
            self.problems.append(f"{place}: a table is needed, such as {{ Authorization = {_EXAMPLE} }}")
            return ()
        added: dict[str, tuple[str, str]] = {}
        for number, (name, value) in enumerate(headers.items(), 1):
            # Anything that is no name may be a value in the wrong place, which must not be repeated.
            with self._at(f"{place}, {name if is_name(name) else f'number {number}'}"):
                check_name(name)
                if added.setdefault(spelling(name), (name, self._value(value)))[0] != name:
                    raise ValueError("is listed twice, in two spellings")
        with self._at(place):
            check_size(tuple(added.values()))
        return tuple(added.values())

    def _value(self, value: object) -> str:
        if isinstance(value, dict):
            value = self._from_file(value)
        if not isinstance(value, str):
            raise ValueError(f"a string or {_EXAMPLE} is needed")  # noqa: TRY004 - a problem of the file
        check_value(value)
        return value

    def _from_file(self, value: Mapping[str, Any]) -> str:
        if unknown := value.keys() - {"file", "prefix"}:
            raise ValueError(_unknown(min(unknown)))
        path, prefix = value.get("file"), value.get("prefix", "")
        if not (isinstance(path, str) and path and isinstance(prefix, str)):
            raise ValueError("file and prefix must be strings, and file is required")
        with beginning_with_file(path):
            contents = origins.without_line_end(origins.read(str(self._folder / path)))
            if not contents.strip():
                raise ValueError("is empty")
        return prefix + contents


def _unknown(key: str) -> str:
    """Return the problem with an unknown *key*, which may be a secret unless it is a plain word."""
    return f"unknown key {key!r}" if _WORD.fullmatch(key) else "an unknown key"


SHARED = BackendsFile(read)
