"""Where a token may come in: the one table of credential sources, and the identity headers of an answer."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from app.core.tokens import CREDENTIAL

IDENTITY_HEADERS = ("X-Auth-Token-Id", "X-Auth-Email", "X-Auth-Comment")
BEARER, BASIC = "Bearer", "Basic"

# RFC 9110 section 11.4, RFC 6750 section 2.1. Two headers arrive joined by a comma, which no token has.
_BEARER = re.compile(f"(?i:bearer) +({CREDENTIAL.pattern})", re.ASCII)
_BASIC = re.compile("(?i:basic) +([A-Za-z0-9+/]+={0,2})", re.ASCII)


def _bearer(value: str) -> str | None:
    match = _BEARER.fullmatch(value)
    return match[1] if match else None


def _bare(value: str) -> str | None:
    return value if CREDENTIAL.fullmatch(value) else None


def _basic(value: str) -> str | None:
    """Return the password, for clients that know nothing but passwords (RFC 7617); the user may be any."""
    match = _BASIC.fullmatch(value)
    try:
        _, _, password = (
            b64decode(match[1], validate=True).decode("ascii").partition(":") if match else ("",) * 3
        )
    except (binascii.Error, UnicodeDecodeError):
        return None
    return _bare(password)


class Source(NamedTuple):
    """A header that may hold the token, how to find it there, its scheme if it has one, and curl's option."""

    header: str
    read: Callable[[str], str | None]
    scheme: str | None
    curl: str


SOURCES: Mapping[str, Source] = {
    "authorization": Source("Authorization", _bearer, BEARER, '-H "Authorization: Bearer {}"'),
    "proxy-authorization": Source(
        "Proxy-Authorization", _bearer, BEARER, '-H "Proxy-Authorization: Bearer {}"'
    ),
    "x-api-key": Source("X-Api-Key", _bare, None, '-H "X-Api-Key: {}"'),
    "basic": Source("Authorization", _basic, BASIC, "-u token:{}"),
}


def headers(names: Iterable[str]) -> tuple[str, ...]:
    """Return the headers of the sources *names*, each once."""
    return tuple(dict.fromkeys(SOURCES[name].header for name in names))


def schemes(names: Iterable[str]) -> tuple[str, ...]:
    """Return the schemes of the sources *names*, each once, in their order."""
    return tuple(dict.fromkeys(scheme for name in names if (scheme := SOURCES[name].scheme)))


def curl(names: Iterable[str], token: str, url: str) -> str:
    """Return the command that presents *token* to *url* in the first of the sources *names*."""
    first = SOURCES[next(iter(names))]
    return f"curl {first.curl.format(token)} {url}"
