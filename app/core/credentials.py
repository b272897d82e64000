"""The ForwardAuth contract: where a client may send its secret, and which headers identify it to a backend.

Settings, challenges, labels, snippets and curl lines are derived from these tables or tested against them.
See docs/decisions/0023.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from shlex import quote
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
USER = "token"  # any name is accepted
_EXPANDED = re.compile("[$`]")  # by a shell, within double quotes


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


def _write_basic(secret: str) -> str:
    return f"Basic {b64encode(f'{USER}:{secret}'.encode()).decode()}"


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


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A header that may carry the secret, how to read and write it there, its scheme, and the option of curl.

    A source equals only itself, so that hashing one costs a request nothing.
    """

    header: str
    read: Callable[[str], str | None]
    write: Callable[[str], str]
    scheme: Scheme
    curl: str


def _bearer_in(header: str) -> Source:
    return Source(header, _read_bearer, "Bearer {}".format, BEARER, f'-H "{header}: Bearer {{}}"')


def _bare_in(header: str) -> Source:
    scheme = Scheme("ApiKey", f'header="{header}"', is_fallback=True)
    quoted = _EXPANDED.sub(r"\\\g<0>", header)
    return Source(header, _read_bare, str, scheme, f'-H "{quoted}: {{}}"')


# The sources with names of their own; ``parse_sources`` builds those that read another header.
# Of several accepted sources that share a header, the first reads the values of any other scheme.
SOURCES: Mapping[str, Source] = {
    "authorization": _bearer_in("Authorization"),
    "proxy-authorization": _bearer_in("Proxy-Authorization"),
    "x-api-key": _bare_in("X-Api-Key"),
    "basic": Source("Authorization", _read_basic, _write_basic, BASIC, f"-u {USER}:{{}}"),
}


NAMES = (*SOURCES, "header:<Name>")
MAX_SOURCES = 10
_HEADER = "header:"
_HEADER_NAME = re.compile(r"[!#$%&'*+.^`|~0-9A-Za-z-]{1,64}", re.ASCII)  # RFC 9110 section 5.6.2, without _
# Headers with another meaning: to HTTP, to the proxies in front, or to this service.
_TAKEN = re.compile(
    "accept|connection|cookie|date|expect|forwarded|from|host|keep-alive|max-forwards|origin|pragma|range|"
    "proxy-connection|referer|set-cookie|te|trailer|transfer-encoding|upgrade|user-agent|via|"
    "www-authenticate|x-real-ip|x-request-id|(?:accept|access-control|cache|content|if|sec|x-auth|x-forwarded)-.*"
)


def parse_sources(text: str) -> tuple[Source, ...]:
    """Return the sources that *text* lists, separated by commas; raise ValueError."""
    sources = tuple(_parse_source(name.strip()) for name in text.split(","))
    if len({(source.header, source.scheme) for source in sources}) < len(sources):
        raise ValueError(f"a list of {', '.join(NAMES)}, each at most once, not {text!r}")
    if len(sources) > MAX_SOURCES:
        raise ValueError(f"at most {MAX_SOURCES} sources, not {len(sources)}")
    return sources


def _parse_source(name: str) -> Source:
    if name.lower() in SOURCES:
        return SOURCES[name.lower()]
    if not name.lower().startswith(_HEADER):
        raise ValueError(f"a list of {', '.join(NAMES)}, each at most once, not {name!r}")
    header = name[len(_HEADER) :]
    if problem := _problem_with(header):
        raise ValueError(f"{name!r}: {problem}")
    return _bare_in("-".join(part.capitalize() for part in header.split("-")))


def _problem_with(header: str) -> str:
    """Return why no source may read *header*, which is empty if one may."""
    lower = header.lower()
    if not _HEADER_NAME.fullmatch(header):
        return (
            "not the name of a header that gunicorn keeps: at most 64 characters, no space and no underscore"
        )
    if own := [name for name, source in SOURCES.items() if source.header.lower() == lower]:
        return f"write {' or '.join(own)}"
    if _TAKEN.fullmatch(lower):
        return "this header has another meaning; choose one that only carries the token"
    return ""


@lru_cache
def accepted(sources: tuple[Source, ...]) -> tuple[tuple[Source, tuple[Source, ...]], ...]:
    """Return *sources* in their order, each with those that share its header, if any do."""
    table = [source for source in SOURCES.values() if source in sources]
    return tuple((source, _sharing(source.header, table)) for source in sources)


def _sharing(header: str, table: Iterable[Source]) -> tuple[Source, ...]:
    sharing = tuple(source for source in table if source.header == header)
    return sharing if len(sharing) > 1 else ()


def owner(value: str, sharing: Sequence[Source]) -> Source:
    """Return the source of those *sharing* a header that reads *value*: by its scheme, else the first."""
    scheme = value.partition(" ")[0].lower()
    return next((source for source in sharing if source.scheme.name.lower() == scheme), sharing[0])


def headers(sources: Iterable[Source]) -> tuple[str, ...]:
    """Return the headers of *sources*, each once."""
    return tuple(dict.fromkeys(source.header for source in sources))


def schemes(sources: Iterable[Source]) -> tuple[Scheme, ...]:
    """Return the schemes to challenge for, each once and in the order of *sources*."""
    found = tuple(dict.fromkeys(source.scheme for source in sources))
    return tuple(scheme for scheme in found if not scheme.is_fallback) or found


def curl(sources: Iterable[Source], secret: str, url: str, method: str = "GET") -> str:
    """Return the command that sends *secret* to *url* in the first of *sources*."""
    first = next(iter(sources))
    option = "" if method == "GET" else f"-X {quote(method)} "
    return f"curl {option}{first.curl.format(secret)} {url}"
