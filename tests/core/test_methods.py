"""Which methods a token may list, and which of them cover a request."""

import pytest

from app.core.list_kinds import Methods
from app.core.methods import MAX_METHODS, covering_methods


@pytest.mark.parametrize(
    ("typed", "methods"),
    [
        ("", ()),
        (" \n", ()),
        ("GET", ("GET",)),
        ("get,Post\npropfind  M-SEARCH", ("GET", "POST", "PROPFIND", "M-SEARCH")),
        ("GET, get,GET,", ("GET",)),
        ("!#$%&'*+-.^_`|~", ("!#$%&'*+-.^_`|~",)),
        ("x" * 40, ("X" * 40,)),
    ],
)
def test_written(typed: str, methods: tuple[str, ...]) -> None:
    """A method is any token of RFC 9110, kept in capitals and once; blank is no restriction."""
    assert Methods().parse(typed) == methods


@pytest.mark.parametrize(
    "typed",
    [
        "*",
        "GET;POST",
        "GET/",
        "(GET)",
        '"GET"',
        "\N{LATIN SMALL LETTER DOTLESS I}",
        "\N{LATIN SMALL LETTER LONG S}",
        "GÉT",
        "\x00",
        "x" * 41,
        "a:b",
    ],
)
def test_refused(typed: str) -> None:
    """What is no method is refused and shown, and so is a * that would not mean every method."""
    with pytest.raises(ValueError, match=r"is not an HTTP method|is no method; leave the field blank"):
        Methods().parse(typed)


def test_too_many() -> None:
    """A token lists at most 50 methods."""
    assert len(Methods().parse(" ".join(f"M{number}" for number in range(MAX_METHODS)))) == MAX_METHODS
    with pytest.raises(ValueError, match="at most 50 methods, not 51"):
        Methods().parse(" ".join(f"M{number}" for number in range(MAX_METHODS + 1)))


@pytest.mark.parametrize(
    ("sent", "listed"),
    [
        ("GET", ("GET",)),
        ("HEAD", ("HEAD", "GET")),
        ("POST", ("POST",)),
        ("PROPFIND", ("PROPFIND",)),
        *((sent, ()) for sent in (None, "", "get", "Get", "GET, POST", "GET,GET", "G ET", "GÉT", "G" * 41)),
    ],
)
def test_covering(sent: str | None, listed: tuple[str, ...]) -> None:
    """GET covers HEAD; a method is case-sensitive, and what is no method is covered by nothing."""
    assert covering_methods(sent) == listed
