"""Normalizing hosts, and the patterns that cover them."""

import random
import re

import pytest
from hypothesis import given, strategies as st

from app.core.hosts import (
    MAX_PATTERNS,
    PATTERN,
    InvalidHostPatternError,
    covering_patterns,
    normalize,
    parse_pattern,
    parse_patterns,
)

LONG_LABEL = "a" * 63


@pytest.mark.parametrize(
    ("sent", "host"),
    [
        ("example.com", "example.com"),
        ("EXAMPLE.com", "example.com"),
        ("example.com:8443", "example.com"),
        ("example.com:", "example.com"),
        ("example.com.", "example.com"),
        ("example.com.:443", "example.com"),
        ("localhost", "localhost"),
        ("my_app.lan", "my_app.lan"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("192.168.1.7:80", "192.168.1.7"),
        ("[::1]:80", "[::1]"),
        ("[2001:DB8:0:0::1]", "[2001:db8::1]"),
        (f"{LONG_LABEL}.example", f"{LONG_LABEL}.example"),
    ],
)
def test_spellings_of_a_host(sent: str, host: str) -> None:
    """A host is compared in lower case, without one port and one trailing dot."""
    assert normalize(sent) == host


@pytest.mark.parametrize(
    "sent",
    [
        "",
        ".",
        "..",
        ".example.com",
        "example.com..",
        "a..b",
        "example.com:80:80",
        "example.com:443.",
        "example.com:http",
        "example.com:123456",
        "example.com\n",
        " example.com",
        "example.com ",
        "a b.example.com",
        "a.example.com,b.example.com",
        "evil.com@example.com",
        "evil.com#.example.com",
        "evil.com/.example.com",
        "a%2eexample.com",
        "example.com\x00",
        "bücher.example",
        "\N{FULLWIDTH LATIN SMALL LETTER E}xample.com",
        "*.example.com",
        "-a.example.com",
        "a-.example.com",
        "a" * 64 + ".example.com",
        ".".join(["a" * 60] * 5),
        "1.2.3",
        "1.2.3.4.5",
        "example.256",
        "[::1",
        "::1",
        "[::1%25eth0]",
        "[1.2.3.4]",
    ],
)
def test_malformed_host(sent: str) -> None:
    """Any stray character makes a host invalid; no part of the text is used."""
    assert normalize(sent) is None
    assert covering_patterns(sent) == ()


def test_missing_host() -> None:
    """No pattern covers a missing host, not even *."""
    assert covering_patterns(None) == ()


def test_covering_patterns_of_a_name() -> None:
    """A wildcard covers one or more labels and never the bare domain."""
    assert covering_patterns("a.b.example.com") == (
        "a.b.example.com",
        "*.b.example.com",
        "*.example.com",
        "*.com",
        "*",
    )


@pytest.mark.parametrize("sent", ["10.0.0.1", "[::1]"])
def test_covering_patterns_of_an_address(sent: str) -> None:
    """An address has no subdomains."""
    assert covering_patterns(sent) == (sent, "*")


def test_oversize_host_is_not_cached() -> None:
    """Text too long for a host is not cached, however long it is."""
    assert covering_patterns("a" * 1_000_000) == ()


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("Example.COM", "example.com"),
        ("example.com.", "example.com"),
        ("*.Example.com", "*.example.com"),
        ("*", "*"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("*.straße.example", "*.xn--strae-oqa.example"),
        ("[::1]", "[::1]"),
        ("10.0.0.1", "10.0.0.1"),
    ],
)
def test_stored_form_of_a_pattern(text: str, pattern: str) -> None:
    """A pattern is normalized in the same way as the hosts it covers."""
    assert parse_pattern(text) == pattern


@pytest.mark.parametrize(
    "text",
    [
        "",
        "*.",
        "**",
        "*example.com",
        "a.*.com",
        "*.*.com",
        "example.com:8443",
        "[::1]:80",
        "https://example.com",
        "example.com/path",
        "exam ple.com",
        "a,b",
        "*.10.0.0.1",
        "a..b",
        "\u200bexample.com",
        "ex\x00ample.com",
        "*." + ".".join(["a" * 49] * 5) + ".aaa",
    ],
)
def test_pattern_that_no_host_could_match(text: str) -> None:
    """A pattern that no host can match is refused when it is stored, and the message quotes it."""
    with pytest.raises(InvalidHostPatternError):
        parse_pattern(text)


def test_list_of_patterns() -> None:
    """A list may be separated by commas, spaces or newlines; duplicates are dropped."""
    assert parse_patterns(" a.example,\n B.example  a.example. ") == ("a.example", "b.example")


@pytest.mark.parametrize("text", ["", " , ", "\n"])
def test_empty_list_of_patterns(text: str) -> None:
    """An empty list is refused, rather than covering every host."""
    with pytest.raises(InvalidHostPatternError, match="at least one host"):
        parse_patterns(text)


def test_too_many_patterns() -> None:
    """The number of hosts of a token is limited."""
    with pytest.raises(InvalidHostPatternError, match="at most 100"):
        parse_patterns(",".join(f"h{i}.example" for i in range(MAX_PATTERNS + 1)))


@given(st.text(max_size=300))
def test_normalizing_any_text(sent: str) -> None:
    """No text raises an error, and normalizing a host again does not change it."""
    host = normalize(sent)

    assert host is None or normalize(host) == host
    assert covering_patterns(sent) == (() if host is None else covering_patterns(host))


@given(st.text(max_size=300))
def test_any_accepted_pattern(text: str) -> None:
    """Every accepted pattern covers at least one host."""
    try:
        pattern = parse_pattern(text)
    except InvalidHostPatternError:
        return

    assert pattern in covering_patterns(pattern.replace("*", "a"))


def is_pattern(text: str) -> bool:
    """Return whether *text* is accepted as a pattern."""
    try:
        return bool(parse_pattern(text))
    except InvalidHostPatternError:
        return False


def test_regex_of_the_description() -> None:
    """The regular expression in the API's description matches exactly the accepted ASCII patterns."""
    chance, pattern = random.Random(4), re.compile(PATTERN)
    for _ in range(5_000):
        scrap = "".join(chance.choices("a0.-_*:[]1F%/ \t", k=chance.randint(0, 9)))
        groups = chance.choices(["0", "ab", "", "", "1.2.3.4", "fFfF", "12345"], k=chance.randint(0, 9))
        parts = chance.choices(
            ["0", "255", "256", "01", "a", "*", "", "1a", "-", "a" * 64], k=chance.randint(0, 6)
        )
        for text in (scrap, f"[{':'.join(groups)}]", ".".join(parts)):
            assert bool(pattern.fullmatch(text)) == is_pattern(text), text
