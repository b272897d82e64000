"""Networks: those that a token lists, and a client's address as ``take.lua`` compares it."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from itertools import groupby

from app.core.hosts import IPV4, IPV6, OCTET

MAX_NETWORKS = 100

_FORM = re.compile(r"([0-9A-Fa-f:.]{2,45})(?:/(0|[1-9][0-9]{0,2}))?", re.ASCII)
_MAPPED_BITS = 96
_OCTET = 1 << 8


def _multiples(step: int) -> str:
    """Return an expression for the multiples of *step* below 256, shorter than the list of them."""
    ends: dict[str, str] = defaultdict(str)
    for value in map(str, range(0, 256, step)):
        ends[value[:-1]] += value[-1]
    heads = groupby(sorted(ends, key=lambda head: ends[head]), key=lambda head: ends[head])
    return "|".join(f"(?:{'|'.join(group)})[{end}]" for end, group in heads)


def _networks_in_ipv4() -> Iterator[str]:
    """Yield expressions for the IPv4 networks, by the octet in which the prefix ends."""
    for octets in range(4):
        zeros = "[.]0" * (3 - octets)
        steps = [f"(?:{_multiples(_OCTET >> bits)}){zeros}/{8 * octets + bits}" for bits in range(1, 8)]
        yield f"(?:{OCTET}[.]){{{octets}}}(?:{'|'.join([*steps, f'{OCTET}{zeros}/{8 * octets + 8}'])})"


# The same as a regular expression for clients that validate before they send. It has all that can be written
# except the IPv6 networks whose prefix ends within a group, for which an expression would be too long.
_GROUP = "[1-9A-Fa-f][0-9A-Fa-f]{0,3}"
_NETWORKS_IN_IPV6 = [f"(?:{_GROUP}:){{{groups}}}:/{16 * groups}" for groups in range(1, 8)]
_ANY = ("0[.]0[.]0[.]0/0", "::/0")
PATTERN = f"(?:{'|'.join([IPV4, IPV6, *_ANY, *_networks_in_ipv4(), *_NETWORKS_IN_IPV6])})"


def comparable(address: str | None) -> tuple[str, ...]:
    """Return *address*, which is canonical, as ``take.lua`` compares it: IPv6 in 32 digits; none for None.

    A candidate for each network around it would be simpler, but 3 kB for an IPv6 address.
    """
    if not address:
        return ()
    return (IPv6Address(address).packed.hex() if ":" in address else address,)


def contain(listed: Iterable[str], address: str | None) -> bool:
    """Return whether *address*, None if it is not known, is in a *listed* network in canonical form."""
    return address is not None and any(_is_in(address, text) for text in listed)


def _is_in(address: str, network: str) -> bool:
    with suppress(ValueError):
        return parse_network(network) == network and ip_address(address) in ip_network(network)
    return False


def parse_network(text: str) -> str:
    """Return one address or network in canonical form; raises ValueError."""
    if "%" in text:
        raise ValueError(f"{text[:60]!r}: leave out the zone id; it means something on one machine only")
    if not (form := _FORM.fullmatch(text)):
        raise ValueError(
            f"{text[:60]!r} is not an address, or a network such as 192.0.2.0/24 or 2001:db8::/32"
        )
    address = ip_address(form[1])
    prefix = int(form[2] or address.max_prefixlen)
    if prefix > address.max_prefixlen:
        raise ValueError(f"{text!r}: at most /{address.max_prefixlen}")
    return _canonical(text, *_unmapped(address, prefix))


def _unmapped(address: IPv4Address | IPv6Address, prefix: int) -> tuple[IPv4Address | IPv6Address, int]:
    """Return an IPv4-mapped network as the IPv4 network that it is."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped, prefix - _MAPPED_BITS) if mapped and prefix >= _MAPPED_BITS else (address, prefix)


def _canonical(text: str, address: IPv4Address | IPv6Address, prefix: int) -> str:
    network = ip_network(f"{address}/{prefix}", strict=False)
    if network.network_address != address:
        raise ValueError(f"{text!r} names an address within a network; write {network}, or the address alone")
    return str(address) if prefix == address.max_prefixlen else str(network)
