"""Interpreting search queries."""

from __future__ import annotations

import random
import re

import pytest

from app.core import tokens
from app.core.search import QUERY, Found, InvalidQueryError, Kind, Query, by_host, understand
from devkit.builders import NOW

ID = tokens.mint_id(NOW * 1000)


@pytest.mark.parametrize(
    ("typed", "kind", "text"),
    [
        pytest.param(ID, Kind.ID, ID, id="id"),
        pytest.param(f" {ID[:5].upper()} ", Kind.ID, ID[:5], id="start of an id"),
        ("AB" * 32, Kind.DIGEST, "ab" * 32),
        ("App.Example.com.", Kind.HOST, "app.example.com"),
        ("bücher.example", Kind.HOST, "xn--bcher-kva.example"),
        ("localhost", Kind.HOST, "localhost"),
        ("127.0.0.1", Kind.HOST, "127.0.0.1"),
        ("*.example.com", Kind.PATTERN, "*.example.com"),
        ("*", Kind.PATTERN, "*"),
        ("Ops@", Kind.EMAIL, "ops@"),
        ("Ann's laptop", Kind.TEXT, "ann's laptop"),
        ("https://a.test/", Kind.TEXT, "https://a.test/"),
        ("a b", Kind.TEXT, "a b"),
        ("a..b", Kind.TEXT, "a..b"),
        ("a.test:80", Kind.TEXT, "a.test:80"),
        ("x\0", Kind.TEXT, "x\0"),
        ("\u202e", Kind.TEXT, "\u202e"),
        ("-", Kind.TEXT, "-"),
    ],
)
def test_kinds(typed: str, kind: Kind, text: str) -> None:
    """Each kind of query is recognized, whatever its spelling."""
    query = understand(typed, "acl")

    assert (query.kind, query.text) == (kind, text)


def test_hosts_and_patterns() -> None:
    """A host finds every token whose patterns cover it; a pattern finds only tokens that list it."""
    assert understand("a.b.test", "acl").patterns == {"a.b.test", "*.b.test", "*.test", "*"}
    assert understand("*.b.test", "acl").patterns == {"*.b.test"}


@pytest.mark.parametrize(
    "secret",
    [
        tokens.mint("acl"),
        "acl_",
        "acl_x.example.com",
        "sk-" + "a" * 40,
        "A" * 20,
        "ab+/" * 8 + "==",
        "f" * 63,
        f"Bearer {tokens.mint('acl')}",
        f'curl -H "Authorization: Bearer {"k" * 24}"',
        "https://a.test/?key=" + "Zx9" * 8,
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jK7Wc",
    ],
)
def test_secrets_are_not_repeated(secret: str) -> None:
    """Text that may be a secret is refused, and neither the message nor the field repeats it."""
    with pytest.raises(InvalidQueryError, match="flask --app wsgi tokens show") as caught:
        understand(secret, "acl")

    assert secret not in str(caught.value)
    assert caught.value.shown == ""


@pytest.mark.parametrize(
    "secret",
    [tokens.mint("sk-"), "sk-", "sk-proj", f"Bearer {tokens.mint('sk-')}", "sk-" + "aB" * 10 + ".test"],
)
def test_secrets_with_a_prefix_taken_as_it_is(secret: str) -> None:
    """What begins with such a prefix may be a token, however short it is."""
    with pytest.raises(InvalidQueryError, match="may be a token"):
        understand(secret, "sk-")


@pytest.mark.parametrize("host", ["sk-shop.example.com", "*.sk-shop.example.com", "a.sk-shop.example.com"])
def test_hosts_that_begin_like_secrets(host: str) -> None:
    """A host may begin with a prefix that ends in a hyphen."""
    assert understand(host, "sk-").text == host


@pytest.mark.parametrize(
    "typed",
    [
        "*.apps.internal-platform.example.com",
        "averyveryverylongname.of-a-host.example",
        "APP-SERVER-NUMBER-TWENTY.LAN",
    ],
)
def test_long_hosts_are_not_secrets(typed: str) -> None:
    """A long host or pattern is not mistaken for a secret."""
    assert understand(typed, "acl").text == typed.lower()


@pytest.mark.parametrize(
    ("typed", "email", "found"),
    [
        ("ann", "Ann.Lee@corp.test", True),
        ("ANN.lee", "ann.lee@corp.test", True),
        ("n.lee@corp", "ann.lee@Corp.test", True),
        ("corp.test", "ann.lee@corp.test", False),
        ("@corp.test", "ann.lee@corp.test", True),
    ],
)
def test_part_of_an_email(typed: str, email: str, found: bool) -> None:  # noqa: FBT001 - a parameter
    """The domain of an email counts only after an @: else a host would find everyone with an email there."""
    query = understand(typed, "acl")

    assert query.is_in_email(email) is found
    assert query.is_in_comment(f"for {email.upper()}")
    assert not by_host("ann").is_in_email("ann@corp.test")


@pytest.mark.parametrize("typed", ["é" * 254, "a@" + "b" * 252, "a b " * 64])
def test_long_queries_are_repeated_in_part(typed: str) -> None:
    """A query that is too long is returned with the reason, cut to what fits."""
    with pytest.raises(InvalidQueryError, match="at most 253") as caught:
        understand(typed, "acl")

    assert caught.value.shown == typed[:253]


def test_regex_of_the_description() -> None:
    """The regular expression in the API's description matches exactly the valid ASCII queries."""
    chance, pattern = random.Random(3), re.compile(f"^{QUERY}$")
    words = [
        *(
            "a" * 19,
            "a" * 20,
            "A" * 25,
            "a" * 19 + "B",
            "x",
            "0",
            "1" * 16,
            "1" * 17,
            "*",
            "f" * 64,
            "-",
            "a_b",
        )
    ]
    for _ in range(5_000):
        scrap = "".join(chance.choices("a0.-_*:[]1F@ \tZ\n\x1f/+,", k=chance.randint(0, 9)))
        name = chance.choice("..../ ,+").join(chance.choices(words, k=chance.randint(1, 4)))
        for typed in (scrap, chance.choice(("", "*.")) + name + chance.choice(("", "."))):
            assert bool(pattern.search(typed)) == is_understood(typed), repr(typed)


def is_understood(typed: str) -> bool:
    """Return whether *typed* is a valid query; a blank one lists all tokens."""
    try:
        return not typed.strip() or bool(understand(typed, "acl"))
    except InvalidQueryError:
        return False


def test_how_far_back() -> None:
    """A continued search reports the age of the last token searched, if its id contains a time."""
    query = Query(Kind.HOST, "a.test")

    assert Found(query, (), 1, 2, ID).back_to == NOW
    assert Found(query, (), 1, 2, tokens.inherited_id("f" * 64)).back_to is None
    assert Found(query, (), 2, 2).back_to is None
