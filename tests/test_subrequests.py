"""The captured sub-requests are usable data."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from devkit.subrequests import clients, heads


def test_every_proxy_asked_about_every_client() -> None:
    """Each proxy asked once about each client, those that speak HTTP/2 once more."""
    asked = Counter((proxy, client.removesuffix(", HTTP/2")) for proxy, client, _ in heads())
    proxies = {proxy for proxy, _ in asked}

    assert len(proxies) == 8
    assert set(asked) == {(proxy, client) for proxy in proxies for client, _ in clients()}
    assert set(asked.values()) == {1, 2}


@pytest.mark.parametrize("recipe", ["traefik", "caddy", "nginx", "envoy", "haproxy"])
def test_no_claims(recipe: str) -> None:
    """What a client says of its host and its address is not what the documented proxies say of it."""
    asked = [head for proxy, client, head in heads() if (proxy, client) == (recipe, "behind another proxy")]
    fields = dict(line.lower().split(b": ", 1) for line in asked[0].split(b"\r\n")[1:-2])

    assert fields[b"x-forwarded-host"] == b"a.test"
    assert fields[b"x-forwarded-for"].split(b",")[-1].strip() not in {b"192.0.2.60", b"198.51.100.7"}


def test_no_bodies() -> None:
    """No body reaches /auth, whatever a client sends."""
    for _, _, head in heads():
        assert not re.search(
            rb"^(transfer-encoding|content-length: *[1-9])", head, re.IGNORECASE | re.MULTILINE
        )


def test_whole_heads() -> None:
    """Each is one head as it was on the wire: lines end in CRLF, and the last one is empty."""
    for _, _, head in heads():
        assert head.endswith(b"\r\n\r\n")
        assert head.count(b"\r\n\r\n") == 1
        assert head.count(b"\n") == head.count(b"\r\n")
