"""A client's address, and the networks in which its wrong passwords and tokens count.

See docs/decisions/0020.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import NamedTuple

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

UNIX = "unix"
_PRIVATE = tuple(
    ip_network(block)
    for block in ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1/128", "fc00::/7")
)
# The smallest network that is assigned to a customer, who can use every address in it (RFC 6177).
_IPV6_PREFIX = 64
# Larger networks that one customer may have, the narrowest first.
_WIDER_PREFIXES = {4: (24,), 6: (56, 48)}
# IPv4 addresses behind a NAT64 translator (RFC 6052).
_NAT64 = IPv6Network("64:ff9b::/96")
# Every request looks up its client, so the result is cached, but not for long lists, which anyone may send.
_MAX_CACHED = 128
_MAX_HOPS = 16


@dataclass(frozen=True, slots=True)
class Proxies:
    """The proxies that are trusted to report the address of a client."""

    networks: tuple[Network, ...] = ()
    is_unix_trusted: bool = False

    def __hash__(self) -> int:
        """Return a cheap hash: hashing the networks would take longer than comparing them."""
        return len(self.networks)

    def __bool__(self) -> bool:
        """Return whether any proxy is trusted."""
        return bool(self.networks) or self.is_unix_trusted

    def __contains__(self, hop: Address | None) -> bool:
        """Return whether *hop* is a trusted proxy; None stands for the peer of a Unix socket."""
        if hop is None:
            return self.is_unix_trusted
        return any(hop in network for network in self.networks)


def parse_proxies(text: str) -> Proxies:
    """Return the proxies of a list such as ``10.0.0.7, private``; raises ValueError."""
    names = [name.strip().lower() for name in text.split(",")] if text.strip() else []
    networks = [block for name in names if name != UNIX for block in _blocks(name)]
    return Proxies(tuple(networks), UNIX in names)


def _blocks(name: str) -> tuple[Network, ...]:
    if name == "private":
        return _PRIVATE
    try:
        block = ip_network(name)
    except ValueError as error:
        raise ValueError(
            f"a list of addresses, networks such as 10.0.0.0/8, private and unix; {error}"
        ) from None
    if not block.prefixlen:
        raise ValueError(f"{name} would let every client choose the address that it is counted under")
    return (block,)


def is_trusted(peer: str, trusted: Proxies) -> bool:
    """Return whether *peer* is a trusted proxy."""
    return _address(peer) in trusted


class _Found(NamedTuple):
    """What is known of the client of a request, in the order of the functions below."""

    name: str
    nearest: str
    address: str | None


def client_of(peer: str, forwarded_for: str | None, trusted: Proxies) -> str:
    """Return the name under which a request is counted: its IPv4 address or its IPv6 /64."""
    return _found(peer, forwarded_for, trusted).name


def address_of(peer: str, forwarded_for: str | None, trusted: Proxies) -> str:
    """Return the nearest hop that is not a trusted proxy, or the last valid one before a malformed entry.

    *peer* is empty on a Unix socket. *forwarded_for* is X-Forwarded-For; each proxy appends its peer to it.
    """
    return _found(peer, forwarded_for, trusted).nearest


def reported_address(peer: str, forwarded_for: str | None, trusted: Proxies) -> str | None:
    """Return the address of the client that trusted proxies report, None if they report none.

    Unlike ``address_of``, this never takes a proxy for a client: if *peer* is not trusted, or an entry that
    would have to be read is malformed or missing, the address is not known.
    """
    return _found(peer, forwarded_for, trusted).address


def canonical_address(text: str) -> str | None:
    """Return the address in *text* as ``reported_address`` returns it, None if it is no address."""
    address = _address(text)
    return _text(address) if address else None


def _found(peer: str, forwarded_for: str | None, trusted: Proxies) -> _Found:
    is_long = len(peer) + len(forwarded_for or "") > _MAX_CACHED
    return (_find if is_long else _cached_find)(peer, forwarded_for, trusted)


def _find(peer: str, forwarded_for: str | None, trusted: Proxies) -> _Found:
    hop, is_reported = _address(peer), False
    hops = forwarded_for.rsplit(",", _MAX_HOPS) if forwarded_for else []
    while hop in trusted and hops:
        if (before := _address(hops.pop())) is None:
            return _Found(_name(hop), _text(hop), None)
        hop, is_reported = before, True
    return _Found(_name(hop), _text(hop), _text(hop) if is_reported else None)


_cached_find = lru_cache(maxsize=1024)(_find)


def _address(text: str) -> Address | None:
    try:
        address = ip_address(text.strip(" \t"))
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _text(hop: Address | None) -> str:
    """Return the address without its scope id, which may contain anything."""
    return UNIX if hop is None else str(type(hop)(int(hop)))


def _name(hop: Address | None) -> str:
    if hop is None:
        return UNIX
    counted = _embedded(hop) if isinstance(hop, IPv6Address) else hop
    if isinstance(counted, IPv4Address):
        return str(counted)
    return str(IPv6Network((int(counted), _IPV6_PREFIX), strict=False))


def _embedded(hop: IPv6Address) -> Address:
    """Return the IPv4 address embedded in *hop*, to count by but never to trust: clients can forge it."""
    if hop in _NAT64:
        return IPv4Address(int(hop) & 0xFFFFFFFF)
    return hop.sixtofour or (hop.teredo[1] if hop.teredo else hop)


@lru_cache(maxsize=1024)
def networks_of(client: str) -> tuple[str, ...]:
    """Return the networks around *client*, a name from client_of, the narrowest first."""
    try:
        own = ip_network(client)
    except ValueError:  # a Unix socket
        return ()
    return tuple(str(own.supernet(new_prefix=prefix)) for prefix in _WIDER_PREFIXES[own.version])
