"""Paths: those that a token lists, and the path of a request in the one form that has a single reading.

Proxies and backends decode, merge and resolve paths in different ways, so a path that could be read in two
ways is compared with nothing: no rule of ours could know which way the backend takes.
"""

from __future__ import annotations

import re

MAX_PATHS = 50
MAX_CHARS = 500

# Printable ASCII without what is decoded (%), what separates segments on some systems (\), what some servers
# cut off from a segment (;), and where many parsers of URLs see a fragment begin (#).
_PLAIN = re.compile(r"/[!\"$&-:<-\[\]-~]*+", re.ASCII)
_DOT_SEGMENT = re.compile(r"/\.\.?(?:/|$)")
_BELOW = "/*"

# The same as a regular expression for clients that validate before they send. What may be written has no *
# within it and no comma, which separates paths; _NO_DOT is without the dot that may begin a dot segment.
_NO_DOT = r"!\"$&-)+\-0-:<->@-\[\]-~"
_CHAR = f"[.{_NO_DOT}]"
_SEGMENT = f"(?:[{_NO_DOT}]{_CHAR}*|[.][{_NO_DOT}]{_CHAR}*|[.][.]{_CHAR}+)"
PATTERN = f"(?:/{_SEGMENT})*(?:/[*]?|/{_SEGMENT})"


def covering_paths(uri: str | None) -> tuple[str, ...]:
    """Return the path of *uri*, cut to one character more than a token may list; none if it is ambiguous."""
    path = uri.partition("?")[0] if uri else ""
    return (path[: MAX_CHARS + 1],) if has_one_reading(path) else ()


def has_one_reading(path: str) -> bool:
    """Return whether every proxy and backend takes *path* for the same."""
    return bool(
        _PLAIN.fullmatch(path) and "//" not in path and not ("/." in path and _DOT_SEGMENT.search(path))
    )


def parse_path(text: str) -> str:
    """Return one path as it is stored, exact or ending in ``/*``; raises ValueError."""
    if len(text) > MAX_CHARS:
        raise ValueError(f"{text[:40]!r}…: at most {MAX_CHARS} characters, not {len(text)}")
    if not text.startswith("/"):
        raise ValueError(f"{text!r} does not begin with a slash, as /v1/models and /v1/* do")
    path = text[:-1] if text.endswith(_BELOW) else text
    if "*" in path:
        raise ValueError(f"{text!r}: a * may only stand at the end, after a slash, as in /v1/*")
    if "?" in path:
        raise ValueError(f"{text!r}: the query is not compared; write the path alone")
    if not has_one_reading(path):
        raise ValueError(f"{text!r} contains {_fault(path)}; a request with such a path is always refused")
    return text


def _fault(path: str) -> str:
    """Return what makes *path* ambiguous."""
    if found := next((text for text in ("%", "\\", ";", "#", "//") if text in path), None):
        return repr(found)
    return "a dot segment" if _DOT_SEGMENT.search(path) else "a character that is not printable ASCII"
