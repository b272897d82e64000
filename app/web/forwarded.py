"""Traefik's account of the original request.

Whoever reaches us without passing through Traefik can forge every header read here: /auth must never be
routed to the public.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol

from app.core.credentials import SOURCES
from app.core.gate import Attempt, Verdict

SUBREQUEST_HEADERS = ("X-Forwarded-Method", "X-Forwarded-Uri")

_BASIC_SCHEME = re.compile("basic( |$)", re.IGNORECASE | re.ASCII)


class Headers(Protocol):
    """Header fields by name, whatever their case."""

    def get(self, name: str, /) -> str | None:
        """Return the value of the field; of a repeated one, all values joined with commas."""
        ...


# All that an answer of /auth depends on; X-Forwarded-For only under FAIL_LIMIT_MAX.
READ_HEADERS = (*{source.header: None for source in SOURCES.values()}, "X-Forwarded-Host", "X-Forwarded-For")


def read_attempt(headers: Headers, sources: Sequence[str]) -> Attempt:
    """Return what the client presented in the first of *sources* that it sent, good or bad.

    Nothing else of the request matters, and nothing is raised.
    """
    host = headers.get("X-Forwarded-Host")
    for name in sources:
        source = SOURCES[name]
        sent = headers.get(source.header)
        if sent is None or (source.header == "Authorization" and _is_for_another(name, sent, sources)):
            continue
        token = source.read(sent)
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
