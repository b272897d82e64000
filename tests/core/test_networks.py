"""Which networks a token may list, and which contain an address."""

import re
from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import given, strategies as st

from app.core.list_kinds import Networks
from app.core.networks import MAX_NETWORKS, PATTERN, comparable, contain, parse_network

ADDRESSES = st.integers(0, 2**32 - 1).map(IPv4Address) | (
    st.integers(0, 128).flatmap(lambda bits: st.integers(0, 2**bits - 1)).map(IPv6Address)
)


@pytest.mark.parametrize(
    ("typed", "networks"),
    [
        ("", ()),
        ("192.0.2.7", ("192.0.2.7",)),
        ("192.0.2.7/32 192.0.2.7", ("192.0.2.7",)),
        ("10.0.0.0/8,172.16.0.0/12", ("10.0.0.0/8", "172.16.0.0/12")),
        ("0.0.0.0/0\n::/0", ("0.0.0.0/0", "::/0")),
        ("2001:DB8:0:0::/32 2001:db8:0:0:0:0:0:1", ("2001:db8::/32", "2001:db8::1")),
        ("::ffff:192.0.2.7 ::ffff:192.0.2.0/120 ::ffff:0:0/96", ("192.0.2.7", "192.0.2.0/24", "0.0.0.0/0")),
        ("::1/128 ::/127", ("::1", "::/127")),
    ],
)
def test_written(typed: str, networks: tuple[str, ...]) -> None:
    """Addresses and networks are kept in canonical form, each once; IPv4-mapped IPv6 is IPv4."""
    assert Networks().parse(typed) == networks


@pytest.mark.parametrize(
    ("typed", "reason"),
    [
        ("192.0.2.7/24", "write 192.0.2.0/24"),
        ("2001:db8::1/32", "write 2001:db8::/32"),
        ("::ffff:192.0.2.7/120", "write 192.0.2.0/24"),
        ("1.0.0.0/0", "write 0.0.0.0/0"),
        *((text, "zone id") for text in ("fe80::1%eth0", "fe80::%1/64", "fe80::1%25eth0")),
        ("192.0.2.0/33", "at most /32"),
        ("2001:db8::/129", "at most /128"),
        *(
            (text, "is not an address")
            for text in ("x", "private", "localhost", "192.0.2.0/255.255.255.0", "/8")
        ),
        *(
            (text, "is not an address")
            for text in ("192.0.2.0/-1", "192.0.2.0/", "192.0.2.0/024", "[::1]", "::1:80]")
        ),
        *(
            (text, "does not appear|is not an address|[Oo]ctet|colon")
            for text in ("192.0.2", "192.0.2.256", "1.2.3.04")
        ),
        *(
            (text, "does not appear|is not an address|[Oo]ctet|colon")
            for text in (":::", "1::2::3", "٣.0.0.1", "1" * 99)
        ),
    ],
)
def test_refused(typed: str, reason: str) -> None:
    """What is no network is refused, and one with bits behind its prefix with the one that may be meant."""
    with pytest.raises(ValueError, match=reason):
        Networks().parse(typed)


def test_too_many() -> None:
    """A token lists at most 100 networks."""
    assert (
        len(Networks().parse(" ".join(f"10.0.0.{number}" for number in range(MAX_NETWORKS)))) == MAX_NETWORKS
    )
    with pytest.raises(ValueError, match="at most 100 networks, not 101"):
        Networks().parse(" ".join(f"10.0.0.{number}" for number in range(MAX_NETWORKS + 1)))


@given(ADDRESSES)
def test_comparable(address: IPv4Address | IPv6Address) -> None:
    """An IPv4 address is compared as text, an IPv6 address by its digits; an unknown one is not sent."""
    digits = f"{int(address):032x}"

    assert comparable(str(address)) == (str(address) if isinstance(address, IPv4Address) else digits,)
    assert comparable(None) == ()


@pytest.mark.parametrize(
    ("listed", "address", "is_in"),
    [
        (("192.0.2.7",), "192.0.2.7", True),
        (("192.0.2.7",), "192.0.2.8", False),
        (("10.0.0.0/8", "192.0.2.0/24"), "192.0.2.255", True),
        (("192.0.2.0/24",), "192.0.3.0", False),
        (("0.0.0.0/0",), "192.0.2.7", True),
        (("0.0.0.0/0",), "2001:db8::7", False),
        (("::/0",), "192.0.2.7", False),
        (("2001:db8::/32",), "2001:db8:ffff::1", True),
        (("0.0.0.0/0", "::/0"), None, False),
        ((), "192.0.2.7", False),
        (("192.0.2.7/24", "x", "", "192.0.2.0/255.255.255.0", "192.0.2.0/024"), "192.0.2.7", False),
        (("::ffff:192.0.2.0/120",), "192.0.2.7", False),
    ],
)
def test_contain(listed: tuple[str, ...], address: str | None, *, is_in: bool) -> None:
    """An address is in the networks around it, and an unknown one in none; a malformed network is empty."""
    assert contain(listed, address) is is_in


@given(st.from_regex(f"(?:{PATTERN})", fullmatch=True))
def test_expression_allows(text: str) -> None:
    """What the API's description allows is accepted."""
    assert parse_network(text)


@pytest.mark.parametrize(
    "text", ["10.0.0.1/8", "10.0.0.0/33", "1.2.3", "::1/64", "fe80::1%1", "*", "10.0.0.0/", ""]
)
def test_expression_refuses(text: str) -> None:
    """What can't be written does not match the description either."""
    assert not re.fullmatch(PATTERN, text)


@given(st.integers(0, 2**32 - 1))
def test_expression_has_every_ipv4_network(address: int) -> None:
    """Every IPv4 network matches the description, and no address within one does in its place."""
    for prefix in range(1, 32):
        network = ip_network((address, prefix), strict=False)

        assert re.fullmatch(PATTERN, str(network))
        assert not re.fullmatch(PATTERN, f"{network.broadcast_address}/{prefix}")
