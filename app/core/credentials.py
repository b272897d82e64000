"""The ForwardAuth contract: where a client may send its secret, and which headers identify it to a backend.

Settings, challenges, labels, snippets and curl lines are derived from these tables or tested against them.
See docs/decisions/0023.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from app.core.tokens import CREDENTIAL
from app.core.verdicts import Identity

# The headers of a 200 and the part of the identity that each carries, in the order in which they are sent.
IDENTITY_HEADERS: Mapping[str, Callable[[Identity], bytes]] = {
    "X-Auth-Token-Id": lambda identity: identity.token_id,
    "X-Auth-Email": lambda identity: identity.email,
    "X-Auth-Comment": lambda identity: identity.comment,
}

# RFC 9110 section 11.4, RFC 6750 section 2.1. Repeated headers arrive joined by a comma, which no secret has.
_BEARER = re.compile(f"(?i:bearer) +({CREDENTIAL.pattern})", re.ASCII)
_BASIC = re.compile("(?i:basic) +([A-Za-z0-9+/]+={0,2})", re.ASCII)


def _read_bearer(value: str) -> str | None:
    match = _BEARER.fullmatch(value)
    return match[1] if match else None


def _read_bare(value: str) -> str | None:
    return value if CREDENTIAL.fullmatch(value) else None


def _read_basic(value: str) -> str | None:
    """Return the password (RFC 7617), for clients that support nothing else; any user name is accepted."""
    match = _BASIC.fullmatch(value)
    if not match:
        return None
    try:
        _, _, password = b64decode(match[1], validate=True).decode("ascii").partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return _read_bare(password)


class Scheme(NamedTuple):
    """A scheme of ``WWW-Authenticate``: its name, the parameters after the realm, and two flags.

    Errors are reported in the challenge of Bearer, which defines them (RFC 6750 section 3). A fallback is
    not a registered scheme, and is offered only if no other scheme is accepted: a 401 must have a challenge
    (RFC 9110 section 15.5.2), but a fallback would hide the next one from clients that read only the first.
    """

    name: str
    parameters: str = ""
    reports_errors: bool = False
    is_fallback: bool = False


BEARER = Scheme("Bearer", reports_errors=True)
BASIC = Scheme("Basic", 'charset="UTF-8"')


class Source(NamedTuple):
    """A header that may carry the secret, how to read it there, its scheme, and the option of curl."""

    header: str
    read: Callable[[str], str | None]
    scheme: Scheme
    curl: str


def _bearer_in(header: str) -> Source:
    return Source(header, _read_bearer, BEARER, f'-H "{header}: Bearer {{}}"')


def _bare_in(header: str) -> Source:
    scheme = Scheme("ApiKey", f'header="{header}"', is_fallback=True)
    return Source(header, _read_bare, scheme, f'-H "{header}: {{}}"')


# Of several accepted sources that share a header, the first reads the values of any other scheme.
SOURCES: Mapping[str, Source] = {
    "authorization": _bearer_in("Authorization"),
    "proxy-authorization": _bearer_in("Proxy-Authorization"),
    "x-api-key": _bare_in("X-Api-Key"),
    "basic": Source("Authorization", _read_basic, BASIC, "-u token:{}"),
}


@lru_cache
def accepted(names: tuple[str, ...]) -> tuple[tuple[Source, tuple[Source, ...]], ...]:
    """Return the sources *names* in that order, each with those that share its header, if any do."""
    table = [source for name, source in SOURCES.items() if name in names]
    return tuple((SOURCES[name], _sharing(SOURCES[name].header, table)) for name in names)


def _sharing(header: str, table: Iterable[Source]) -> tuple[Source, ...]:
    sharing = tuple(source for source in table if source.header == header)
    return sharing if len(sharing) > 1 else ()


def owner(value: str, sharing: Sequence[Source]) -> Source:
    """Return the source of those *sharing* a header that reads *value*: by its scheme, else the first."""
    scheme = value.partition(" ")[0].lower()
    return next((source for source in sharing if source.scheme.name.lower() == scheme), sharing[0])


def headers(names: Iterable[str]) -> tuple[str, ...]:
    """Return the headers of the sources *names*, each once."""
    return tuple(dict.fromkeys(SOURCES[name].header for name in names))


def schemes(names: Iterable[str]) -> tuple[Scheme, ...]:
    """Return the schemes to challenge for, each once and in the order of *names*."""
    found = tuple(dict.fromkeys(SOURCES[name].scheme for name in names))
    return tuple(scheme for scheme in found if not scheme.is_fallback) or found


def curl(names: Iterable[str], secret: str, url: str) -> str:
    """Return the command that sends *secret* to *url* in the first of the sources *names*."""
    first = SOURCES[next(iter(names))]
    return f"curl {first.curl.format(secret)} {url}"
