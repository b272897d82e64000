"""The tables of credential sources and identity headers."""

from __future__ import annotations

import pytest

from app.core.credentials import (
    IDENTITY_HEADERS,
    MAX_SOURCES,
    SOURCES,
    Source,
    accepted,
    curl,
    headers,
    owner,
    parse_sources,
    schemes,
)
from app.core.verdicts import Identity


def test_identity_headers() -> None:
    """Each part of an identity has exactly one header."""
    identity = Identity(b"an id", b"an email", b"a comment")

    assert sorted(part(identity) for part in IDENTITY_HEADERS.values()) == sorted(identity)


@pytest.mark.parametrize(
    ("names", "value", "expected"),
    [
        ("authorization,basic", "Basic x", "basic"),
        ("basic,authorization", "bAsIc", "basic"),
        ("basic,authorization", "Bearer x", "authorization"),
        ("basic,authorization", "Digest x", "authorization"),
        ("basic,authorization", "", "authorization"),
        ("basic,proxy-authorization", "Bearer x", "basic"),
        ("authorization,x-api-key", "Basic x", "authorization"),
        ("header:api-key,basic,authorization", "Basic x", "basic"),
    ],
)
def test_source_that_reads_a_shared_header(names: str, value: str, expected: str) -> None:
    """A value is read by the source whose scheme it has, else by the first in the table."""
    pairs = accepted(parse_sources(names))
    sources = [(source, sharing) for source, sharing in pairs if source.header == "Authorization"]
    owners = [source for source, sharing in sources if not sharing or owner(value, sharing) is source]

    assert owners == [SOURCES[expected]]


@pytest.mark.parametrize("name", [*SOURCES, "header:api-key"])
def test_curl_command_of_each_source(name: str) -> None:
    """The curl command uses the source's header, or curl's option for a user name and password."""
    sources = parse_sources(name)
    line = curl(sources, "the-secret", "https://a.test/")
    sent = f'-H "{headers(sources)[0]}: ' if name != "basic" else "-u token:"

    assert line.startswith(f"curl {sent}")
    assert line.endswith(" https://a.test/")


def test_curl_with_what_a_shell_expands() -> None:
    """A name with characters that a shell expands arrives at curl as it is."""
    line = curl(parse_sources("header:$a`b"), "the-secret", "https://a.test/")

    assert line == 'curl -H "\\$a\\`b: the-secret" https://a.test/'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("header:api-key", ["Api-Key"]),
        ("HEADER:x-goog-API-key", ["X-Goog-Api-Key"]),
        ("basic, header:B , authorization,header:a", ["Authorization", "B", "A"]),
        ("header:x-api-key-2,x-api-key", ["X-Api-Key-2", "X-Api-Key"]),
    ],
)
def test_headers_of_parsed_sources(text: str, expected: list[str]) -> None:
    """The name of a header may be in any case; the headers are in the order given."""
    assert [*headers(parse_sources(text))] == expected


def test_scheme_of_a_header() -> None:
    """Each header has a challenge of its own, which is sent only where no other scheme is accepted."""
    alone, beside = parse_sources("header:b,x-api-key,header:a"), parse_sources("header:b,basic")

    assert [scheme.parameters for scheme in schemes(alone)] == [
        'header="B"',
        'header="X-Api-Key"',
        'header="A"',
    ]
    assert [scheme.name for scheme in schemes(beside)] == ["Basic"]


@pytest.mark.parametrize(
    "text",
    [
        *("", ",", "header", "header:", "headers:a", "header: a", "header:a b", "header:a:b", "header:ü"),
        *("header:api_key", 'header:a"b', "header:a\nb", "header:" + "a" * 65, "cookie", "authorization,"),
        *("header:a,header:A", "basic,basic", "x-api-key,X-Api-Key", "header:a,header:b,header:a"),
        ",".join(f"header:a{number}" for number in range(MAX_SOURCES + 1)),
    ],
)
def test_lists_that_are_refused(text: str) -> None:
    """Each source has a known name or a header that can arrive, is named once, and there are few of them."""
    with pytest.raises(ValueError, match=r"each at most once|at most 10 sources|not the name of a header"):
        parse_sources(text)


@pytest.mark.parametrize(
    "name",
    [
        *("Host", "Connection", "Content-Length", "Content-Type", "Transfer-Encoding", "Cookie", "Expect"),
        *("X-Forwarded-Host", "X-Forwarded-Anything", *IDENTITY_HEADERS, "x-auth-", "Sec-Fetch-Site"),
    ],
)
def test_headers_with_another_meaning(name: str) -> None:
    """A header that HTTP, a proxy or this service reads otherwise can't carry the secret."""
    with pytest.raises(ValueError, match="has another meaning"):
        parse_sources(f"header:{name}")


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_headers_of_other_sources(source: Source) -> None:
    """A header that has a source of its own is not read in another way."""
    with pytest.raises(ValueError, match=r"write (authorization or basic|proxy-authorization|x-api-key)"):
        parse_sources(f"header:{source.header.lower()}")
