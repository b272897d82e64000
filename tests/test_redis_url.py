"""Parsing REDIS_URL without revealing its password."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis.strategies import sampled_from, text, tuples

from app.redis_url import Address, Location, Login, parse_host, parse_url

ONE = (Address("a", 6379),)


@pytest.mark.parametrize(
    ("url", "location"),
    [
        ("redis://a", Location(ONE)),
        ("REDIS://A:6379/", Location(ONE)),
        ("redis://a/%32", Location(ONE, db=2)),
        ("redis://a?db=2", Location(ONE, db=2)),
        ("redis://a/2?db=2&", Location(ONE, db=2)),
        ("redis://u:p@a", Location(ONE, login=Login("u", "p"))),
        ("redis://u@a", Location(ONE, login=Login("u"))),
        ("redis://:p@ss:w+rd=é@a", Location(ONE, login=Login("", "p@ss:w+rd=é"))),
        ("rediss://:p%3A%2F%23%25%C3%A9@a", Location(ONE, tls=True, login=Login("", "p:/#%é"))),
        ("redis://[::1]:1/3", Location((Address("::1", 1),), db=3)),
        ("redis://[fe80::1%25eth0]", Location((Address("fe80::1%eth0", 6379),))),
        ("redis://my_redis.example.com.", Location((Address("my_redis.example.com.", 6379),))),
        ("unix:///run/redis.sock", Location(socket="/run/redis.sock")),
        (
            "unix://u:p%2F@/run/a%20b.sock?db=4",
            Location(socket="/run/a b.sock", db=4, login=Login("u", "p/")),
        ),
    ],
)
def test_one_server(url: str, location: Location) -> None:
    """The URL of one server has a host or a socket path, and optionally a login and a database."""
    assert parse_url(url) == location


@pytest.mark.parametrize(
    ("url", "location"),
    [
        ("redis+sentinel://a/s", Location((Address("a", 26379),), service="s")),
        (
            "redis+sentinel://a,b:1,[::1]:2,[fe80::1]/s%2Ft/4",
            Location(
                (Address("a", 26379), Address("b", 1), Address("::1", 2), Address("fe80::1", 26379)),
                service="s/t",
                db=4,
            ),
        ),
        (
            "rediss+sentinel://u:p%40%2F%3F@a/s?sentinel_username=w&sentinel_password=%26+x&db=1",
            Location(
                (Address("a", 26379),),
                tls=True,
                db=1,
                login=Login("u", "p@/?"),
                service="s",
                sentinel_login=Login("w", "&+x"),
            ),
        ),
        ("redis+cluster://a,b:1", Location((Address("a", 6379), Address("b", 1)), is_cluster=True)),
        ("rediss+cluster://:p%3A@a/0", Location(ONE, is_cluster=True, tls=True, login=Login("", "p:"))),
        ("redis+cluster://a/?db=0", Location(ONE, is_cluster=True)),
    ],
)
def test_several_servers(url: str, location: Location) -> None:
    """Several hosts are separated by commas, each with an optional port."""
    assert parse_url(url) == location


@pytest.mark.parametrize(
    ("complaint", "urls"),
    [
        ("begin with one of", ["", "http://a", "redis:a", "redis+sentinel:a", "unix:/run/s", " redis://a"]),
        ("its hosts", ["redis://", "redis:///0", "redis://:hush@/0"]),
        ("its hosts", ["redis://::1", "redis://[::1", "redis://[a]", "redis://[v1.x]:1", "redis://a..b"]),
        ("its hosts", ["redis://%2Frun%2Fhush", "redis://bücher", "redis://-a", f"redis://{'a' * 64}"]),
        ("its port", ["redis://h:hush", "redis://a:", "redis://a:0", "redis://a:65536", "redis://a:+1"]),
        ("its port", [f"redis://a:{'9' * 5000}", "redis://a:٣", "redis://[::1]:x"]),
        ("several hosts", ["redis://a,b", "rediss://a:1,b:2/0"]),
        ("the database", ["redis://a/zero", "redis://a/1/2", "redis://a/1/", "redis://a/-1", "redis://a/٣"]),
        ("the database", ["redis://a/2147483648", "redis://a?db=x", "unix:///s?db=%31x", "redis://a//1"]),
        ("two databases", ["redis://a/1?db=2"]),
        ("twice or empty", ["redis://a?db=1&db=1", "redis://a?db", "redis://a?db="]),
        ("not one of db", ["redis://a?hush=1", "redis://a?DB=1", "redis://a?sentinel_password=hush"]),
        ("rediss://", ["redis://a?ssl=true", "unix:///s?tls=1"]),
        ("leave it out", ["redis://a?decode_responses=true", "redis://a/0?protocol=3&db=1"]),
        ("REDIS_DEADLINE_MS", ["redis://a?socket_timeout=1", "unix:///s?socket_connect_timeout=1"]),
        ("REDIS_TLS_CA_FILE", ["rediss://a?ssl_ca_certs=/hush.pem"]),
        ("REDIS_TLS_SKIP_VERIFY", ["rediss+cluster://a?ssl_cert_reqs=none"]),
        ("REDIS_PASSWORD", ["unix:///s?password=hush"]),
        (
            "a blank or a control",
            ["redis://a b", "redis://a ", "redis://a\n", "redis://:hu\tsh@a", "redis://a\xa0"],
        ),
        ("write it as %23", ["redis://:hu#sh@a", "redis://a/0#", "unix:///run/s#x"]),
        ("encodes no character", ["redis://:hush%@a", "redis://:%zzhush@a", "redis://:hush%FF@a"]),
        (
            "full path of a socket",
            ["unix://", "unix:///", "unix://run/s", "unix:///run/", "unix:///hush%00", "unix://u@"],
        ),
        ("at most 107 bytes", [f"unix:///{'a' * 107}", f"unix:///{'é' * 54}"]),
        ("its port", ["redis://u:hu/sh@h"]),
        ("the database", ["redis://u:12/hush@h/0"]),
        ("not one of db", ["redis://u:12?hush@h/0", "redis://:hu?sh@h", "redis+sentinel://u:hu?sh@a/s"]),
        ("lacks the service", ["redis+sentinel://a", "redis+sentinel://a/", "redis+sentinel://a//0"]),
        ("its hosts", ["redis+sentinel:///s", "redis+sentinel://a,,b/s", "redis+cluster://a,"]),
        ("twice", ["redis+sentinel://a,A/s", "redis+cluster://a,a:6379"]),
        ("its port", ["redis+sentinel://a:0/s", "redis+cluster://a:x"]),
        (
            "its service",
            [
                "redis+sentinel://u:hu/sh@a/s",
                "redis+sentinel://u:1/hush@a",
                "redis+sentinel://u:1/hush@a:2/3",
                "redis+sentinel://a/é",
            ],
        ),
        ("the database", ["redis+sentinel://a/s/x", "redis+sentinel://a/s/1/"]),
        ("not one of", ["redis+sentinel://a/s?hush=1"]),
        (
            "only database 0",
            [
                "redis+cluster://u:hu/sh@a",
                "redis+cluster://a/1",
                "redis+cluster://a/s",
                "redis+cluster://a?db=1",
            ],
        ),
    ],
)
def test_refused(complaint: str, urls: list[str]) -> None:
    """An unusable URL is refused with the reason and without any part of its password."""
    for url in urls:
        with pytest.raises(ValueError, match=complaint) as caught:
            parse_url(url)
        assert "hu" not in str(caught.value), url


@given(
    sampled_from(
        [
            "redis://u:%s@h:1/2",
            "unix://u:%s@/run/s?db=2",
            "redis+sentinel://u:%s@h/s/2",
            "redis+cluster://u:%s@h",
        ]
    ),
    tuples(text("0a", max_size=3), sampled_from("/?#@:&=,[] \n"), text("0a", max_size=3)).map("".join),
)
def test_unescaped_password(url: str, password: str) -> None:
    """A password with reserved characters is used whole or refused, never truncated."""
    with suppress(ValueError):
        assert parse_url(url % password).login == Login("u", password)


@pytest.mark.parametrize(
    ("text", "host"), [("::1", "::1"), ("[::1]", "::1"), ("Redis", "redis"), ("10.0.0.1", "10.0.0.1")]
)
def test_host(text: str, host: str) -> None:
    """A host may be an IPv6 address with or without brackets."""
    assert parse_host(text) == host


@pytest.mark.parametrize(
    "text", ["", " a", "a b", "a:1", "redis://a", "/run/s", "a,b", "a..b", "[a]", "1::2::3", "é"]
)
def test_malformed_host(text: str) -> None:
    """A host that can't be resolved is refused at the start, not at each request."""
    with pytest.raises(ValueError):  # noqa: PT011 - the caller adds the message
        parse_host(text)
