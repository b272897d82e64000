"""Traefik's account of the original request.

Whoever reaches us without passing through Traefik can forge every header read here: /auth must never be
routed to the public.
"""

from __future__ import annotations

import re
from typing import Protocol

from app.core.gate import Attempt, Verdict
from app.core.tokens import CREDENTIAL

SUBREQUEST_HEADERS = ("X-Forwarded-Method", "X-Forwarded-Uri")

# RFC 9110 section 11.4, RFC 6750 section 2.1. Two headers arrive joined by a comma, which no token has.
_BEARER = re.compile(f"bearer +({CREDENTIAL.pattern})", re.IGNORECASE | re.ASCII)


class Headers(Protocol):
    """Header fields by name, whatever their case."""

    def get(self, name: str, /) -> str | None:
        """Return the value of the field; of a repeated one, all values joined with commas."""
        ...


def read_attempt(headers: Headers) -> Attempt:
    """Return what the client presented; nothing else of the request matters, and nothing is raised."""
    sent, host = headers.get("Authorization"), headers.get("X-Forwarded-Host")
    if sent is None:
        return Attempt("", host, Verdict.NO_CREDENTIAL)
    match = _BEARER.fullmatch(sent)
    return Attempt(match[1], host) if match else Attempt("", host, Verdict.MALFORMED)


def is_subrequest(headers: Headers) -> bool:
    """Tell whether this is the question of a ForwardAuth, which only /auth may answer."""
    return any(headers.get(name) is not None for name in SUBREQUEST_HEADERS)
