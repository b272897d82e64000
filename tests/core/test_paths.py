"""Which paths a token may list, and which paths of requests have one reading."""

import re
from timeit import timeit

import pytest
from hypothesis import given, strategies as st

from app.core.list_kinds import Paths
from app.core.paths import MAX_CHARS, MAX_PATHS, PATTERN, covering_paths, parse_path
from devkit.waiting import at_best


@pytest.mark.parametrize(
    ("typed", "paths"),
    [
        ("", ()),
        ("/", ("/",)),
        ("/*", ("/*",)),
        ("/v1/models,/v1/*\n/V1/*  /v1/*", ("/v1/models", "/v1/*", "/V1/*")),
        ("/.well-known/x /a.b/...  /a/..b /a/.b.", ("/.well-known/x", "/a.b/...", "/a/..b", "/a/.b.")),
        ("/~a/b:c@d=e&f+g!$'()[]", ("/~a/b:c@d=e&f+g!$'()[]",)),
        ("/" + "a" * (MAX_CHARS - 1), ("/" + "a" * (MAX_CHARS - 1),)),
    ],
)
def test_written(typed: str, paths: tuple[str, ...]) -> None:
    """Paths are kept as they are typed, each once, exact or ending in /*; blank is no restriction."""
    assert Paths().parse(typed) == paths


@pytest.mark.parametrize(
    ("typed", "reason"),
    [
        *(
            (text, "does not begin with a slash")
            for text in ("v1", "*", "*/", "https://a.test/", "?", "./a", "\\a")
        ),
        *((text, "a \\* may only stand at the end") for text in ("/v1*", "/*/a", "/v1/**", "/*/*", "/a*b/*")),
        *((text, "the query is not compared") for text in ("/a?b", "/a/?", "/?/*")),
        *((text, "contains '%'") for text in ("/a%20b", "/%2e%2e/*", "/%")),
        ("/a\\b", r"contains '\\\\'"),
        ("/a;b", "contains ';'"),
        ("/a#b", "contains '#'"),
        *((text, "contains '//'") for text in ("//", "//*", "/a//b", "/a//*")),
        *((text, "contains a dot segment") for text in ("/.", "/..", "/./*", "/a/../b", "/a/.", "/a/../*")),
        *((text, "not printable ASCII") for text in ("/é", "/a\x7f", "/\u202e", "/a\x00")),
        ("/" + "a" * MAX_CHARS, "at most 500 characters, not 501"),
    ],
)
def test_refused(typed: str, reason: str) -> None:
    """A path that no request could match is refused, with what is wrong."""
    with pytest.raises(ValueError, match=reason):
        Paths().parse(typed)


def test_too_many() -> None:
    """A token lists at most 50 paths."""
    assert len(Paths().parse(" ".join(f"/{number}" for number in range(MAX_PATHS)))) == MAX_PATHS
    with pytest.raises(ValueError, match="at most 50 paths, not 51"):
        Paths().parse(" ".join(f"/{number}" for number in range(MAX_PATHS + 1)))


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("/", "/"),
        ("/v1/models", "/v1/models"),
        ("/v1/models?a=%2e%2e//;\\é", "/v1/models"),
        ("/v1/?", "/v1/"),
        ("/a/...", "/a/..."),
        ("/a,b/,c", "/a,b/,c"),
        ("/a/.b", "/a/.b"),
        ("/*", "/*"),
        ("/" + "a" * 600, "/" + "a" * MAX_CHARS),
    ],
)
def test_path_of_a_request(uri: str, path: str) -> None:
    """The path ends before the first question mark, and no more of it is sent than can matter."""
    assert covering_paths(uri) == (path,)


@pytest.mark.parametrize(
    "uri",
    [
        *(None, "", "*", "v1/models", "?", "https://a.test/v1/models", " /v1", "\\v1"),
        *("/v1/%6dodels", "/v1%2fmodels", "/%", "/v1/..%2f", "/v1/.%2e/x", "/%c0%ae%c0%ae/"),
        *("/v1/models;a=b", "/v1/..;/x", "/v1/;", "/v1\\models", "/v1/..\\x", "/v1/models#x", "/v1/..#"),
        *("//", "//v1", "/v1//models", "/v1/models//", "/.", "/..", "/./v1", "/v1/.", "/v1/..", "/v1/../x"),
        *(
            "/v1/x/../..",
            "/v1/../",
            "/v1/./",
            "/v1/..?x",
            "/v1/é",
            "/v1/\x7f",
            "/v1/\t",
            "/v1/ x",
            "/v1/\x00",
        ),
        "/" + "a" * 600 + "/../x",
        "/" + "a" * 600 + "%",
    ],
)
def test_ambiguous_request(uri: str | None) -> None:
    """A path that may be read in two ways is compared with nothing, wherever in it the doubt is."""
    assert covering_paths(uri) == ()


@given(st.from_regex(f"(?:{PATTERN})", fullmatch=True).filter(lambda text: len(text) <= MAX_CHARS))
def test_expression_allows(text: str) -> None:
    """What the API's description allows is accepted."""
    assert parse_path(text) == text


@given(st.text("/.*a%;?#,~ é\\", max_size=9).map(lambda text: f"/{text}"))
def test_expression_refuses(text: str) -> None:
    """What the API's description refuses is refused."""
    try:
        parse_path(text)
    except ValueError:
        assert not re.fullmatch(PATTERN, text)
    else:
        assert "," in text or re.fullmatch(PATTERN, text)


@pytest.mark.parametrize("text", ["/", "/.", "/a", "/..a", "a", "/a/b."])
def test_cost(text: str) -> None:
    """A path of 64 KiB, whatever it consists of, is judged within a millisecond or two."""
    uri = "/" + text * (65_536 // len(text))

    at_best(lambda: timeit(lambda: covering_paths(uri), number=1), 0.005)
