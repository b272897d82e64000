"""The headers that a backend receives with an allowed request, by the host that was requested.

A client needs a token of its own only, and the backend's credential never leaves the server.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from app.core.credentials import IDENTITY_HEADERS
from app.core.hosts import covering_patterns

Added = tuple[tuple[str, str], ...]

MAX_HEADERS = 20
MAX_BYTES = 8 * 1024

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)  # a token of RFC 9110 section 5.6.2
_VALUE = re.compile(r"[!-~]([ -~]*[!-~])?", re.ASCII)
_ALIASES = str.maketrans("_.", "--")  # many backends take both for a hyphen
_RESERVED = {
    # HTTP's framing, and what gunicorn drops from an answer or sets itself.
    *("connection", "date", "host", "keep-alive", "server", "te", "trailer", "trailers"),
    *("expect", "http2-settings", "transfer-encoding", "upgrade", "via", "x-real-ip"),
    # What an answer of /auth means to proxies and clients.
    *("cache-control", "forwarded", "retry-after", "set-cookie", "www-authenticate"),
    *(name.lower() for name in IDENTITY_HEADERS),
}
# X-Accel-Redirect and X-Envoy-Auth-Headers-To-Remove, for instance, are commands to nginx and to Envoy.
_RESERVED_PREFIXES = (
    *("content-", "proxy-", "ratelimit", "x-ratelimit", "x-forwarded-"),
    *("x-accel-", "x-envoy-"),
)


class Backends:
    """A table from host patterns to headers; its repr shows no header."""

    def __init__(self, table: Mapping[str, Added]) -> None:
        self._table = table

    def __bool__(self) -> bool:
        return bool(self._table)

    def headers_for(self, sent: str | None) -> Added:
        """Return the headers of the most specific pattern that covers the host *sent* by the proxy."""
        for pattern in covering_patterns(sent):
            if added := self._table.get(pattern):
                return added
        return ()


NONE = Backends({})


def is_name(name: str) -> bool:
    """Return whether HTTP allows a header of that *name*."""
    return _NAME.fullmatch(name) is not None


def spelling(name: str) -> str:
    """Return what all names that backends may take for *name* have in common."""
    return name.lower().translate(_ALIASES)


def check_name(name: str) -> None:
    """Raise ValueError, without *name* in its message, if no backend may receive a header of that name."""
    if not is_name(name):
        raise ValueError("HTTP does not allow this name")
    alike = spelling(name)
    if alike in _RESERVED or alike.startswith(_RESERVED_PREFIXES):
        raise ValueError("this name is reserved for HTTP, for proxies or for this service")


def check_value(value: str) -> None:
    """Raise ValueError if *value* would not arrive as it is; the message does not repeat it."""
    if not value:
        raise ValueError("is empty")
    if not _VALUE.fullmatch(value):
        raise ValueError("may hold only printable ASCII, and no space at either end")


def check_size(added: Added) -> None:
    """Raise ValueError if these are too many headers, or too large."""
    if len(added) > MAX_HEADERS:
        raise ValueError(f"at most {MAX_HEADERS}, not {len(added)}")
    if sum(len(name) + len(value) for name, value in added) > MAX_BYTES:
        raise ValueError(f"at most {MAX_BYTES} bytes in all")
