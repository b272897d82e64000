"""HTTP methods: those that a token lists, and which listed methods cover a request's."""

from __future__ import annotations

import re
from collections.abc import Mapping

MAX_METHODS = 50

_MAX_CHARS = 40
_MARKS = r"!#$%&'+.^_`|~\-"
# A token of RFC 9110 section 5.6.2. Methods are case-sensitive, and no registered one has small letters.
_METHOD = re.compile(f"[*{_MARKS}0-9A-Z]{{1,{_MAX_CHARS}}}", re.ASCII)
_COVERING: Mapping[str, tuple[str, ...]] = {"GET": ("GET",), "POST": ("POST",), "HEAD": ("HEAD", "GET")}

# The same as a regular expression for clients that validate before they send.
_CHARS = f"[*{_MARKS}0-9A-Za-z]"
PATTERN = f"(?:[{_MARKS}0-9A-Za-z]{_CHARS}{{0,{_MAX_CHARS - 1}}}|[*]{_CHARS}{{1,{_MAX_CHARS - 1}}})"


def covering_methods(sent: str | None) -> tuple[str, ...]:
    """Return every listed method that covers the method *sent* by the proxy, none if it is no method."""
    if not sent:
        return ()
    return _COVERING.get(sent) or ((sent,) if _METHOD.fullmatch(sent) else ())


def parse_method(text: str) -> str:
    """Return one method in capitals; raises ValueError."""
    if text == "*":
        raise ValueError("'*' is no method; leave the field blank to allow every method")
    method = text.upper() if text.isascii() else text
    if not _METHOD.fullmatch(method):
        shown = text[: _MAX_CHARS + 1]
        raise ValueError(
            f"{shown!r} is not an HTTP method: one word of at most {_MAX_CHARS} characters, as GET"
        )
    return method
