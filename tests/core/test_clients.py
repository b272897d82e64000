"""The address or network under which a request is counted."""

from __future__ import annotations

import re
from ipaddress import ip_address

import pytest
from hypothesis import given, strategies as st

from app.core.clients import address_of, client_of, networks_of, parse_proxies, reported_address

TRAEFIK = "172.18.0.2"


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "client"),
    [
        (TRAEFIK, "203.0.113.7", "203.0.113.7"),
        (TRAEFIK, "198.51.100.1, 203.0.113.7", "203.0.113.7"),
        (TRAEFIK, "198.51.100.1,203.0.113.7\t", "203.0.113.7"),
        (TRAEFIK, "198.51.100.1, 203.0.113.7, 172.18.0.3", "203.0.113.7"),
        (TRAEFIK, "172.18.0.9", "172.18.0.9"),
        (TRAEFIK, "203.0.113.7, nonsense", TRAEFIK),
        (TRAEFIK, "nonsense, 172.18.0.3", "172.18.0.3"),
        (TRAEFIK, "203.0.113.7,", TRAEFIK),
        (TRAEFIK, "203.0.113.7:80", TRAEFIK),
        (TRAEFIK, "", TRAEFIK),
        (TRAEFIK, None, TRAEFIK),
        (f"::ffff:{TRAEFIK}", "203.0.113.7", "203.0.113.7"),
        (TRAEFIK, "::ffff:203.0.113.7", "203.0.113.7"),
        (TRAEFIK, "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        (TRAEFIK, "64:ff9b::203.0.113.7", "203.0.113.7"),
        (TRAEFIK, "2002:cb00:7107::1", "203.0.113.7"),
        (TRAEFIK, "2001:0:4136:e378:8000:63bf:34ff:8ef8", "203.0.113.7"),
        (TRAEFIK, "203.0.113.7" + ", 172.18.0.3" * 99, "172.18.0.3"),
        ("2002:ac12:0002::1", "203.0.113.7", TRAEFIK),
        ("fe80::1%eth0", "203.0.113.7", "fe80::/64"),
        ("203.0.113.7", "198.51.100.1", "203.0.113.7"),
        ("203.0.113.7", TRAEFIK, "203.0.113.7"),
        ("", "203.0.113.7", "unix"),
    ],
)
def test_client(peer: str, forwarded_for: str | None, client: str) -> None:
    """X-Forwarded-For is read from trusted proxies only, and an IPv6 client is counted as its /64."""
    assert client_of(peer, forwarded_for, parse_proxies("172.18.0.0/16")) == client


@pytest.mark.parametrize(
    ("names", "peer", "client"),
    [
        ("", TRAEFIK, TRAEFIK),
        (TRAEFIK, TRAEFIK, "203.0.113.7"),
        ("172.18.0.3", TRAEFIK, TRAEFIK),
        ("private", TRAEFIK, "203.0.113.7"),
        ("PRIVATE", "fd00::1", "203.0.113.7"),
        ("private", "127.0.0.1", "203.0.113.7"),
        ("private", "198.51.100.1", "198.51.100.1"),
        ("private", "", "unix"),
        ("unix", "", "203.0.113.7"),
        ("unix", TRAEFIK, TRAEFIK),
        ("2001:db8::/32 , unix", "2001:db8::1", "203.0.113.7"),
    ],
)
def test_trusted(names: str, peer: str, client: str) -> None:
    """A proxy may be given as an address, a network, `private`, or `unix` for the peer of a Unix socket."""
    assert client_of(peer, "203.0.113.7", parse_proxies(names)) == client


@pytest.mark.parametrize(
    ("client", "networks"),
    [
        ("2001:db8:1:203::/64", ("2001:db8:1:200::/56", "2001:db8:1::/48")),
        ("203.0.113.7", ("203.0.113.0/24",)),
        ("unix", ()),
    ],
)
def test_networks(client: str, networks: tuple[str, ...]) -> None:
    """A client is also counted under the larger networks that one customer may hold."""
    assert networks_of(client) == networks


@pytest.mark.parametrize(
    "names",
    ["traefik", "10.0.0.0/33", "10.0.0.1/8", "0.0.0.0/0", "::/0", "private,", ",", "10.0.0.0 10.0.0.1"],
)
def test_refused(names: str) -> None:
    """A list that makes no sense, or that trusts every address, is refused."""
    with pytest.raises(ValueError, match=r"a list of|choose the address"):
        parse_proxies(names)


@given(spoofed=st.text(), client=st.ip_addresses(v=4).filter(lambda ip: ip not in parse_proxies("private")))
def test_forged(spoofed: str, client: object) -> None:
    """A client can't change the address it is counted under by sending its own X-Forwarded-For."""
    hops = TRAEFIK, f"{spoofed},{client}", parse_proxies("private")

    assert client_of(*hops) == address_of(*hops) == str(client)


@given(peer=st.text(), forwarded_for=st.text())
def test_any_text(peer: str, forwarded_for: str) -> None:
    """No value of either header raises an error, and the name is always short."""
    hops = peer, forwarded_for, parse_proxies("private, unix")

    assert re.fullmatch("[0-9a-f.:/]{2,49}|unix", client_of(*hops))
    assert re.fullmatch("[0-9a-f.:]{2,49}|unix", address_of(*hops))


@pytest.mark.parametrize(
    ("sent", "address"),
    [
        ("2001:db8:1:2:3::6", "2001:db8:1:2:3:0:0:6"),
        ("64:ff9b::203.0.113.7", "64:ff9b::cb00:7107"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("fe80::1%\x1b[31m", "fe80::1"),
    ],
)
def test_address(sent: str, address: str) -> None:
    """The log contains the address itself and nothing else from the header."""
    logged = address_of(TRAEFIK, sent, parse_proxies("private"))

    assert ip_address(logged) == ip_address(address)
    assert logged.isprintable()


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "address"),
    [
        (TRAEFIK, "203.0.113.7", "203.0.113.7"),
        (TRAEFIK, "198.51.100.1, 203.0.113.7, 172.18.0.3", "203.0.113.7"),
        (TRAEFIK, "172.18.0.9", "172.18.0.9"),
        (TRAEFIK, "2001:DB8:0:0::6", "2001:db8::6"),
        (TRAEFIK, "::ffff:203.0.113.7", "203.0.113.7"),
        (TRAEFIK, "64:ff9b::203.0.113.7", "64:ff9b::cb00:7107"),
        (TRAEFIK, "fe80::1%eth0", "fe80::1"),
        (TRAEFIK, None, None),
        (TRAEFIK, "", None),
        (TRAEFIK, "unknown", None),
        (TRAEFIK, "203.0.113.7:80", None),
        (TRAEFIK, "203.0.113.7, ", None),
        (TRAEFIK, "203.0.113.7, x, 172.18.0.3", None),
        (TRAEFIK, "203.0.113.7" + ", 172.18.0.3" * 99, None),
        ("203.0.113.7", "198.51.100.1", None),
        ("203.0.113.7", None, None),
        ("", "203.0.113.7", None),
        ("nonsense", "203.0.113.7", None),
    ],
)
def test_reported_address(peer: str, forwarded_for: str | None, address: str | None) -> None:
    """Only a trusted proxy reports an address; the proxy itself is never taken for the client."""
    assert reported_address(peer, forwarded_for, parse_proxies("172.18.0.0/16")) == address


def test_reported_over_a_socket() -> None:
    """A trusted peer of a Unix socket reports an address too, and without any proxy there is none."""
    assert reported_address("", "203.0.113.7", parse_proxies("unix")) == "203.0.113.7"
    assert reported_address(TRAEFIK, "203.0.113.7", parse_proxies("")) is None
    assert [bool(parse_proxies(text)) for text in ("", "unix", "private")] == [False, True, True]
