"""The kinds of fields that hold a list: how each is typed, kept in a record, and sent as JSON."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from app.core import hosts, methods, networks, paths
from app.core.kinds import Kind

_AROUND = ", \t\r\n"


@dataclass(frozen=True)
class ListKind(Kind):
    """A list of at most *max_items* items; no item contains a comma or a space.

    *pattern* is a regular expression for an item; *noun* names one, and with an s several.
    """

    is_list = True
    noun: ClassVar[str]
    max_items: ClassVar[int]
    pattern: ClassVar[str]

    def __str__(self) -> str:
        return f"at most {self.max_items} {self.noun}s, separated by commas, spaces or line breaks"

    @abstractmethod
    def parse_item(self, text: str) -> str:
        """Return one item in canonical form; raise ValueError with what is wrong."""

    def parse(self, typed: str) -> tuple[str, ...]:
        """Return the items in canonical form, each once; blank is an empty list."""
        texts = typed.strip(_AROUND)
        items = tuple(dict.fromkeys(map(self.parse_item, hosts.SEPARATOR.split(texts)))) if texts else ()
        if len(items) > self.max_items:
            raise ValueError(self._too_many(len(items)))
        return items

    def format(self, value: tuple[str, ...]) -> str:
        """Return one item per line."""
        return "\n".join(value)

    def to_record(self, value: tuple[str, ...]) -> str:
        """Return the items separated by commas."""
        return ",".join(value)

    def from_record(self, kept: str) -> tuple[str, ...]:
        """Return the items, which others may have written in any form; only an empty text is an empty list.

        A list without items would otherwise become no list, which restricts nothing, by the next edit.
        """
        return tuple(filter(None, map(str.strip, kept.split(",")))) or ((repr(kept),) if kept else ())

    def to_json(self, value: tuple[str, ...]) -> list[str]:
        """Return the items as an array."""
        return list(value)

    def from_json(self, value: Any) -> str:
        """Return an array of items, or a string of them, as it would have been typed."""
        if not isinstance(value, list | str | None):
            raise ValueError("a list of strings")  # noqa: TRY004 - it is shown like every other problem
        return self._lines(value) if isinstance(value, list) else value or ""

    def _lines(self, sent: list[Any]) -> str:
        if len(sent) > self.max_items:
            raise ValueError(self._too_many(len(sent)))
        for item in sent:
            if not isinstance(item, str) or not item or hosts.SEPARATOR.search(item):
                raise ValueError(f"a list of strings, each with one {self.noun} and no space, not {item!r}")
        return "\n".join(sent)

    def _too_many(self, count: int) -> str:
        return f"at most {self.max_items} {self.noun}s, not {count}"


class Hosts(ListKind):
    """A list of host patterns, which may not be empty."""

    name = "hosts"
    noun = "host"
    max_items = hosts.MAX_PATTERNS
    pattern = hosts.PATTERN

    def parse_item(self, text: str) -> str:
        """Return one pattern."""
        return hosts.parse_pattern(text)

    def parse(self, typed: str) -> tuple[str, ...]:
        """Return the patterns in canonical form, each once."""
        return hosts.parse_patterns(typed)

    def from_record(self, kept: str) -> tuple[str, ...]:
        """Return the patterns; an older deployment stored lists as they were typed."""
        return tuple(filter(None, map(str.strip, kept.lower().split(","))))


class Methods(ListKind):
    """A list of HTTP methods."""

    name = "methods"
    noun = "method"
    max_items = methods.MAX_METHODS
    pattern = methods.PATTERN

    def parse_item(self, text: str) -> str:
        """Return one method in capitals."""
        return methods.parse_method(text)


class Paths(ListKind):
    """A list of paths, exact or ending in ``/*``."""

    name = "paths"
    noun = "path"
    max_items = paths.MAX_PATHS
    pattern = paths.PATTERN

    def parse_item(self, text: str) -> str:
        """Return one path."""
        return paths.parse_path(text)


class Networks(ListKind):
    """A list of IP addresses and networks."""

    name = "networks"
    noun = "network"
    max_items = networks.MAX_NETWORKS
    pattern = networks.PATTERN

    def parse_item(self, text: str) -> str:
        """Return one address or network in canonical form."""
        return networks.parse_network(text)
