"""Traefik's account of the original request.

Whoever reaches us without passing through Traefik can forge every header read here: /auth must never be
routed to the public.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from app.core.gate import Attempt, Verdict
from app.core.tokens import CREDENTIAL

SUBREQUEST_HEADERS = ("X-Forwarded-Method", "X-Forwarded-Uri")

# RFC 9110 section 11.4, RFC 6750 section 2.1. Two headers arrive joined by a comma, which no token has.
_BEARER = re.compile(f"(?i:bearer) +({CREDENTIAL.pattern})", re.ASCII)
_BASIC = re.compile("(?i:basic) +([A-Za-z0-9+/]+={0,2})", re.ASCII)
_BASIC_SCHEME = re.compile("basic( |$)", re.IGNORECASE | re.ASCII)


class Headers(Protocol):
    """Header fields by name, whatever their case."""

    def get(self, name: str, /) -> str | None:
        """Return the value of the field; of a repeated one, all values joined with commas."""
        ...


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
    """A header that may hold the token, and how to find it there."""

    header: str
    read: Callable[[str], str | None]


SOURCES: Mapping[str, Source] = {
    "authorization": Source("Authorization", _bearer),
    "proxy-authorization": Source("Proxy-Authorization", _bearer),
    "x-api-key": Source("X-Api-Key", _bare),
    "basic": Source("Authorization", _basic),
}

# All that an answer of /auth depends on; X-Forwarded-For only under FAIL_LIMIT_MAX.
READ_HEADERS = (*{source.header: None for source in SOURCES.values()}, "X-Forwarded-Host", "X-Forwarded-For")


def read_attempt(headers: Headers, sources: Sequence[str]) -> Attempt:
    """Return what the client presented in the first of *sources* that it sent, good or bad.

    Nothing else of the request matters, and nothing is raised.
    """
    host = headers.get("X-Forwarded-Host")
    for name in sources:
        header, read = SOURCES[name]
        sent = headers.get(header)
        if sent is None or (header == "Authorization" and _is_for_another(name, sent, sources)):
            continue
        token = read(sent)
        return Attempt("", host, Verdict.MALFORMED) if token is None else Attempt(token, host)
    return Attempt("", host, Verdict.NO_CREDENTIAL)


def _is_for_another(name: str, sent: str, sources: Sequence[str]) -> bool:
    """Tell whether two sources share the header and its scheme is the other one's."""
    if "authorization" not in sources or "basic" not in sources:
        return False
    return (name == "basic") != bool(_BASIC_SCHEME.match(sent))


def is_subrequest(headers: Headers) -> bool:
    """Tell whether this is the question of a ForwardAuth, which only /auth may answer."""
    return any(headers.get(name) is not None for name in SUBREQUEST_HEADERS)
