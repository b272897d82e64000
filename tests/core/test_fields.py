"""What an operator may type."""

import pytest

from app.core.fields import MAX_TTL_S, InvalidFieldsError, parse_spec
from app.core.tokens import TokenSpec


def test_whole_spec() -> None:
    """Every field reaches the spec, trimmed and in its stored form."""
    typed = {
        "hosts": " Example.com ",
        "email": " a@b.example",
        "comment": "x\ty".replace("\t", " "),
        "ttl_seconds": "60",
    }

    assert parse_spec(typed, 0) == TokenSpec(("example.com",), "a@b.example", "x y", 60)


@pytest.mark.parametrize(
    ("text", "ttl_s"), [("", 3600), ("0", 0), ("1", 1), ("007", 7), (str(MAX_TTL_S), MAX_TTL_S)]
)
def test_lifetime(text: str, ttl_s: int) -> None:
    """Blank is the service's default and 0 is for ever."""
    assert parse_spec({"hosts": "*", "ttl_seconds": text}, 3600).ttl_s == ttl_s


@pytest.mark.parametrize(
    "text",
    [
        "-5",
        "-0",
        "+5",
        "1.5",
        "1e3",
        "0x10",
        "1_000",
        "nan",
        "inf",
        "٣٠٠",
        "5 0",
        "9223372036854775808",
        "9" * 400,
        str(MAX_TTL_S + 1),
        "1d",
    ],
)
def test_lifetime_that_is_none(text: str) -> None:
    """A lifetime in anything but plain digits, or beyond a century, is refused with the range."""
    with pytest.raises(InvalidFieldsError, match="ttl_seconds: a whole number from 0 to"):
        parse_spec({"hosts": "*", "ttl_seconds": text}, 0)


@pytest.mark.parametrize("text", ["x", "@example.com", "a@", "a b@example.com", "a@b@c", "a@" + "b" * 260])
def test_email_that_is_none(text: str) -> None:
    """What can't be an address is refused."""
    with pytest.raises(InvalidFieldsError, match="email: not an e-mail address"):
        parse_spec({"hosts": "*", "email": text}, 0)


@pytest.mark.parametrize(
    "char",
    [
        "\x00",
        "\n",
        "\r",
        "\t",
        "\x7f",
        "\x85",
        "\u200b",
        "\u202e",
        "\u2028",
        "\ufeff",
        "\ud800",
        "\U000e0001",
    ],
)
@pytest.mark.parametrize("name", ["comment", "email"])
def test_invisible_characters(name: str, char: str) -> None:
    """What nobody sees, reorders text or was never text is refused and named."""
    with pytest.raises(
        InvalidFieldsError, match=rf"{name}: contains the unprintable character U\+{ord(char):04X}"
    ):
        parse_spec({"hosts": "*", name: f"a{char}b@example.com"}, 0)


def test_comment_length() -> None:
    """A comment has its bound."""
    assert parse_spec({"hosts": "*", "comment": "ü" * 500}, 0).comment == "ü" * 500
    with pytest.raises(InvalidFieldsError, match="comment: at most 500 characters, not 501"):
        parse_spec({"hosts": "*", "comment": "ü" * 501}, 0)


def test_all_problems_at_once() -> None:
    """Every bad field is named in one go, also a misspelled one, which would have been overlooked."""
    with pytest.raises(InvalidFieldsError) as caught:
        parse_spec({"hosts": "", "ttl_seconds": "x", "ttl": "60"}, 0)

    assert set(caught.value.problems) == {"hosts", "ttl_seconds", "ttl"}
