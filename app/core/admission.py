"""Who may see the pages and the API at all: by the name, the network and the path of a request."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection

from app.core.clients import Proxies, canonical_address, reported_address
from app.core.hosts import ANY, normalize, parse_pattern
from app.core.networks import contain, parse_network

MAX_LISTED = 100
_SEGMENT = re.compile(r"[A-Za-z0-9_~-][A-Za-z0-9._~-]*", re.ASCII)
_MAX_BASE = 100
# What the service has at its root; a path that begins so would be ambiguous.
RESERVED = re.compile(
    r"auth|healthz|livez|metrics|self|api|static|new|overview|audit|try|tokens|confirm_bulk|[a-z]+_tokens?",
    re.ASCII,
)


def parse_hosts(text: str) -> tuple[str, ...]:
    """Return the host names of a comma separated list in the form of ``normalize``; raises ValueError."""
    return _listed(text, _host)


def _host(text: str) -> str:
    pattern = parse_pattern(text)
    if pattern.startswith(ANY):
        raise ValueError(f"{text!r}: name each host; a wildcard is not possible here")
    return pattern


def parse_networks(text: str) -> tuple[str, ...]:
    """Return the addresses and networks of a comma separated list, canonical; raises ValueError."""
    return _listed(text, parse_network)


def _listed(text: str, parse: Callable[[str], str]) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(parse(each.strip()) for each in text.split(","))) if text.strip() else ()
    if len(found) > MAX_LISTED:
        raise ValueError(f"at most {MAX_LISTED}, not {len(found)}")
    return found


def parse_base_path(text: str) -> str:
    """Return the path without the slash at its end, blank for the root; raises ValueError."""
    base = text.rstrip("/")
    if not base:
        return ""
    first, *segments = base.split("/")
    if first or len(base) > _MAX_BASE or not all(map(_SEGMENT.fullmatch, segments)):
        raise ValueError(f"a path such as /acl, of letters, digits and . _ ~ -, not {text!r}")
    if RESERVED.fullmatch(segments[0]):
        raise ValueError(f"may not begin with /{segments[0]}, which the service has at its root")
    return base


def is_host_listed(sent: str | None, hosts: Collection[str]) -> bool:
    """Return whether the header Host that was *sent* names one of *hosts*, with whatever port."""
    return sent is not None and normalize(sent) in hosts


def is_client_listed(
    peer: str, forwarded_for: str | None, trusted: Proxies, networks: Collection[str]
) -> bool:
    """Return whether the client is in one of *networks*.

    A proxy that is not *trusted* must not pass for its clients: what has an X-Forwarded-For from it is not.
    """
    if forwarded_for is None:
        return contain(networks, canonical_address(peer))
    return contain(networks, reported_address(peer, forwarded_for, trusted))
