"""One URL names several servers, or is refused without giving its password away."""

from __future__ import annotations

import pytest

from app.core.addresses import Address, Login, Several, parse_several


@pytest.mark.parametrize("url", ["redis://h:1/2", "rediss://:p@h", "unix:///run/redis.sock"])
def test_one_server(url: str) -> None:
    """What redis-py reads itself is left to it."""
    assert parse_several(url) is None


@pytest.mark.parametrize(
    ("url", "several"),
    [
        ("redis+sentinel://a/s", Several((Address("a", 26379),), service="s")),
        (
            "redis+sentinel://a,b:1,[::1]:2,[fe80::1]/s/4",
            Several(
                (Address("a", 26379), Address("b", 1), Address("::1", 2), Address("fe80::1", 26379)),
                service="s",
                db=4,
            ),
        ),
        (
            "rediss+sentinel://u:p%40%2F%3F@a/s?sentinel_username=w&sentinel_password=%26x",
            Several(
                (Address("a", 26379),),
                tls=True,
                login=Login("u", "p@/?"),
                service="s",
                sentinel_login=Login("w", "&x"),
            ),
        ),
        ("redis+cluster://a,b:1", Several((Address("a", 6379), Address("b", 1)))),
        ("rediss+cluster://:p%3A@a/0", Several((Address("a", 6379),), tls=True, login=Login("", "p:"))),
    ],
)
def test_several_servers(url: str, several: Several) -> None:
    """Hosts are a list, each with its port or the usual one; names and passwords are %-encoded."""
    assert parse_several(url) == several


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("", "begin with one of"),
        ("http://a", "begin with one of"),
        ("redis:a", "begin with one of"),
        ("redis+sentinel:a", "begin with one of"),
        ("redis://h:hush", "its port"),
        ("redis://u:hu/sh@h", "its port"),
        ("redis+sentinel://a", "names no service"),
        ("redis+sentinel://a/", "names no service"),
        ("redis+sentinel:///s", "its hosts"),
        ("redis+sentinel://a,,b/s", "its hosts"),
        ("redis+sentinel://a b/s", "its hosts"),
        ("redis+sentinel://a:0/s", "a port"),
        ("redis+sentinel://a:65536/s", "a port"),
        ("redis+sentinel://u:hu/sh@a/s", "a port"),
        ("redis+sentinel://u:hu?sh@a/s", "a port"),
        ("redis+sentinel://a/s/x", "the database"),
        ("redis+sentinel://a/s?hush=1", "an option"),
        ("redis+cluster://a/1", "but database 0"),
        ("redis+cluster://a/s", "but database 0"),
        ("redis+cluster://a?hush=1", "but database 0"),
    ],
)
def test_what_can_not_be_used(url: str, complaint: str) -> None:
    """A URL that can't be used is refused with its fault named, and no piece of a password shown."""
    with pytest.raises(ValueError, match=complaint) as caught:
        parse_several(url)
    assert "hu" not in str(caught.value)
