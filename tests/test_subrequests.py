"""The captured sub-requests are usable data."""

from __future__ import annotations

from collections import Counter

from tests.subrequests import clients, heads


def test_every_proxy_asked_about_every_client() -> None:
    """Each proxy asked once about each client, those that speak HTTP/2 once more."""
    asked = Counter((proxy, client.removesuffix(", HTTP/2")) for proxy, client, _ in heads())
    proxies = {proxy for proxy, _ in asked}

    assert len(proxies) == 8
    assert set(asked) == {(proxy, client) for proxy in proxies for client, _ in clients()}
    assert set(asked.values()) == {1, 2}


def test_whole_heads() -> None:
    """Each is one head as it was on the wire: lines end in CRLF, and the last one is empty."""
    for _, _, head in heads():
        assert head.endswith(b"\r\n\r\n")
        assert head.count(b"\r\n\r\n") == 1
        assert head.count(b"\n") == head.count(b"\r\n")
