"""Who may see the pages at all: what the settings accept, and whom they admit."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from app.core.admission import (
    is_client_listed,
    is_host_listed,
    parse_base_path,
    parse_hosts,
    parse_networks,
)
from app.core.clients import parse_proxies


def test_lists_are_canonical() -> None:
    """Hosts, networks and the path have one form, however they are written."""
    assert parse_hosts(" Admin.Test., admin.test,[::1] ") == ("admin.test", "[::1]")
    assert parse_networks("10.0.0.0/8, ::ffff:192.0.2.1 ,2001:DB8::/32") == (
        "10.0.0.0/8",
        "192.0.2.1",
        "2001:db8::/32",
    )
    assert [parse_base_path(text) for text in ("", "/", "/acl", "/acl/", "/a/b")] == [
        "",
        "",
        "/acl",
        "/acl",
        "/a/b",
    ]


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        *[(parse_hosts, text) for text in ("*", "*.a.test", "a.test:80", "http://a.test", "a b", "a,,b")],
        *[(parse_networks, text) for text in ("localhost", "10.0.0.1/8", "10.0.0.0/33", "private", ",")],
        *[(parse_base_path, text) for text in ("acl", "//acl", "/a//b", "/..", "/a/../b", "/a b", "/%61")],
        *[(parse_base_path, text) for text in ("/auth", "/auth/x", "/metrics", "/self", "/api", "/tokens/")],
    ],
)
def test_bad_settings_are_refused(parse: Callable[[str], object], text: str) -> None:
    """What could not work, or would hide a part of the service, is a ValueError that says so."""
    with pytest.raises(ValueError, match=r"\w"):
        parse(text)


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "trusted", "listed"),
    [
        ("192.0.2.1", None, "", True),
        ("::ffff:192.0.2.1", None, "", True),
        ("192.0.3.1", None, "", False),
        ("", None, "", False),
        ("10.0.0.1", "192.0.2.1", "10.0.0.1", True),
        ("10.0.0.1", "203.0.113.9", "10.0.0.1", False),
        ("10.0.0.1", "192.0.2.1, 203.0.113.9", "10.0.0.1", False),
        ("10.0.0.1", "192.0.2.1", "", False),
        ("192.0.2.1", "203.0.113.9", "", False),
        ("192.0.2.1", "203.0.113.9", "192.0.2.1", False),
        ("192.0.2.1", "garbage", "192.0.2.1", False),
        ("192.0.2.1", "", "192.0.2.1", False),
        ("", "192.0.2.1", "unix", True),
    ],
)
def test_clients(peer: str, forwarded_for: str | None, trusted: str, *, listed: bool) -> None:
    """A client is known by its connection, or by trusted proxies; no proxy passes for its clients."""
    assert is_client_listed(peer, forwarded_for, parse_proxies(trusted), ("192.0.2.0/24",)) is listed


@pytest.mark.parametrize(
    ("sent", "listed"),
    [
        ("a.test", True),
        ("A.TEST.:8443", True),
        ("b.test", False),
        ("x.a.test", False),
        (None, False),
        ("", False),
    ],
)
def test_hosts(sent: str | None, *, listed: bool) -> None:
    """A host is compared without case, port and one trailing dot."""
    assert is_host_listed(sent, parse_hosts("a.test")) is listed
