"""The captured ForwardAuth requests are usable as data."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from devkit.subrequests import clients, heads


def test_every_client_of_every_proxy_is_captured() -> None:
    """Each proxy has one request per client, or two if it also speaks HTTP/2."""
    captured = Counter((proxy, client.removesuffix(", HTTP/2")) for proxy, client, _ in heads())
    proxies = {proxy for proxy, _ in captured}

    assert len(proxies) == 8
    assert set(captured) == {(proxy, client) for proxy in proxies for client, _ in clients()}
    assert set(captured.values()) == {1, 2}


@pytest.mark.parametrize("recipe", ["traefik", "caddy", "nginx", "envoy", "haproxy"])
def test_host_and_address_cannot_be_forged(recipe: str) -> None:
    """With the documented settings, a proxy does not pass on a client's forged host or address."""
    found = [head for proxy, client, head in heads() if (proxy, client) == (recipe, "behind another proxy")]
    fields = dict(line.lower().split(b": ", 1) for line in found[0].split(b"\r\n")[1:-2])

    assert fields[b"x-forwarded-host"] == b"a.test"
    assert fields[b"x-forwarded-for"].split(b",")[-1].strip() not in {b"192.0.2.60", b"198.51.100.7"}


def test_no_bodies() -> None:
    """No request to /auth has a body, whatever the client sent."""
    for _, _, head in heads():
        assert not re.search(
            rb"^(transfer-encoding|content-length: *[1-9])", head, re.IGNORECASE | re.MULTILINE
        )


def test_whole_heads() -> None:
    """Each head is complete, as on the wire: its lines end in CRLF and the last one is empty."""
    for _, _, head in heads():
        assert head.endswith(b"\r\n\r\n")
        assert head.count(b"\r\n\r\n") == 1
        assert head.count(b"\n") == head.count(b"\r\n")
