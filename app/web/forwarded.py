"""Read the headers in which Traefik forwards the original request.

A client that reaches the service without passing through Traefik can forge every header that is read here:
/auth must never be routed to the public.
"""

from __future__ import annotations

from typing import Protocol

from app.core.clients import Proxies, reported_address
from app.core.credentials import SOURCES, Source, accepted, headers as headers_of, owner
from app.core.verdicts import Attempt, Verdict

SUBREQUEST_HEADERS = ("X-Forwarded-Method", "X-Forwarded-Uri")


class Headers(Protocol):
    """Header fields by name, whatever their case."""

    def get(self, name: str, /) -> str | None:
        """Return the value of the field; of a repeated one, all values joined with commas."""
        ...


# Every header that a response of /auth depends on, besides those that CREDENTIAL_SOURCES adds.
# X-Forwarded-For matters only if TRUSTED_PROXIES is set.
READ_HEADERS = (*headers_of(SOURCES.values()), "X-Forwarded-Host", *SUBREQUEST_HEADERS, "X-Forwarded-For")
# Those that the log has besides.
LOGGED_HEADERS = ("X-Request-Id",)


def read_attempt(headers: Headers, sources: tuple[Source, ...], peer: str, trusted: Proxies) -> Attempt:
    """Return what the client presented in the first of *sources* that it sent, good or bad; raise nothing.

    The address of the client is looked up only if there are *trusted* proxies that could report it.
    """
    host = headers.get("X-Forwarded-Host")
    for source, sharing in accepted(sources):
        value = headers.get(source.header)
        if value is None or (sharing and owner(value, sharing) is not source):
            continue
        secret = source.read(value)
        if secret is None:
            return Attempt("", host, Verdict.MALFORMED_CREDENTIAL)
        method, uri = headers.get("X-Forwarded-Method"), headers.get("X-Forwarded-Uri")
        address = reported_address(peer, headers.get("X-Forwarded-For"), trusted) if trusted else None
        return Attempt(secret, host, None, method, uri, address)
    return Attempt("", host, Verdict.NO_CREDENTIAL)


def is_subrequest(headers: Headers) -> bool:
    """Return whether this is a sub-request of ForwardAuth, which only /auth may answer."""
    return any(headers.get(name) is not None for name in SUBREQUEST_HEADERS)
