"""Which headers a backend receives, and which nobody may give it."""

from __future__ import annotations

import pytest
from gunicorn.util import hop_headers
from hypothesis import given, strategies as st

from app.core.backends import MAX_BYTES, MAX_HEADERS, Backends, check_name, check_size, check_value
from app.core.credentials import IDENTITY_HEADERS
from devkit.builders import make_settings

label = st.sampled_from(["a", "b"])
names = st.lists(label, min_size=1, max_size=4).map(".".join)
patterns = names | names.map(lambda name: f"*.{name}") | st.just("*")


def covers(pattern: str, host: str) -> bool:
    """Return whether *pattern* covers *host*, by the words of the documentation."""
    if pattern.startswith("*."):
        return host.endswith(pattern[1:])
    return pattern in {"*", host}


def rank(pattern: str) -> tuple[bool, int]:
    """Return how specific *pattern* is: an exact one is more so than any wildcard, then the longer one."""
    return "*" not in pattern, len(pattern)


@given(listed=st.sets(patterns), host=names)
def test_most_specific_pattern_wins(listed: set[str], host: str) -> None:
    """A backend receives the headers of the most specific pattern alone: exact, the longest ``*.``, ``*``."""
    best = max((pattern for pattern in listed if covers(pattern, host)), key=rank, default=None)
    backends = Backends({pattern: (("X-Pattern", pattern),) for pattern in listed})

    assert backends.headers_for(host) == ((("X-Pattern", best),) if best else ())


@pytest.mark.parametrize("sent", ["A.Test", "a.test:443", "a.test.", "A.TEST.:80"])
def test_host_spelling(sent: str) -> None:
    """The host is normalized as the gate does it."""
    assert Backends({"a.test": (("X-A", "b"),)}).headers_for(sent) == (("X-A", "b"),)


@pytest.mark.parametrize("sent", [None, "", "a.test,b.test", "b.test", "a.test ", "aatest", "x.a.test"])
def test_other_hosts(sent: str | None) -> None:
    """A host that no pattern covers, or that is no host, receives nothing."""
    assert Backends({"a.test": (("X-A", "b"),)}).headers_for(sent) == ()


RESERVED = [
    *(
        "Host",
        "Content-Length",
        "Content-Type",
        "Content-Encoding",
        "Transfer-Encoding",
        "Connection",
        "Upgrade",
    ),
    *("TE", "Trailer", "Keep-Alive", "Proxy-Authorization", "Set-Cookie", "Date", "Server", "Cache-Control"),
    *("Retry-After", "WWW-Authenticate", "RateLimit", "RateLimit-Policy", "X-RateLimit-Reset", "Forwarded"),
    *("X-Forwarded-Host", "X-Accel-Redirect", "X-Envoy-Auth-Headers-To-Remove"),
    *("Expect", "Via", "X-Real-Ip", "HTTP2-Settings"),
    *IDENTITY_HEADERS,
    *sorted(hop_headers),
]


@pytest.mark.parametrize("name", RESERVED)
@pytest.mark.parametrize("change", [str, str.lower, str.upper, lambda name: name.replace("-", "_")])
def test_reserved_names(name: str, change: type[str]) -> None:
    """No spelling of a header of HTTP, of a proxy or of this service is given to a backend."""
    with pytest.raises(ValueError, match="reserved"):
        check_name(change(name))


@pytest.mark.parametrize("name", ["", "X A", "X:A", "X\n", "Ä", "X/A", '"'])
def test_names_that_are_none(name: str) -> None:
    """A name is a token of RFC 9110."""
    with pytest.raises(ValueError, match="HTTP"):
        check_name(name)


@pytest.mark.parametrize("name", ["Authorization", "X-Api-Key", "Cookie", "x-goog-api-key", "X-Auth-Token"])
def test_names_of_credentials(name: str) -> None:
    """What backends read their credentials from may be given to them."""
    check_name(name)


@pytest.mark.parametrize(
    "value", ["", " ", " a", "a ", "a\tb", "a\nb", "a\r\nX: b", "\x00", "\x7f", "é", "日"]
)
def test_values_that_would_not_arrive(value: str) -> None:
    """A value is printable ASCII and begins and ends with no space."""
    with pytest.raises(ValueError, match=r"printable|empty"):
        check_value(value)


@pytest.mark.parametrize("value", ["a", "Bearer sk-1", "~", '"a, b"'])
def test_values(value: str) -> None:
    """Any other value is taken."""
    check_value(value)


def test_sizes() -> None:
    """A backend has a limited number of headers, and of their bytes."""
    many = tuple((f"X-{number}", "a") for number in range(MAX_HEADERS))
    check_size(many)
    check_size((("X", "a" * (MAX_BYTES - 1)),))
    for added in ((*many, ("X", "a")), (("X", "a" * MAX_BYTES),)):
        with pytest.raises(ValueError, match="at most"):
            check_size(added)


def test_repr() -> None:
    """No repr shows a header."""
    assert "hush" not in repr(Backends({"a.test": (("X-A", "hush"),)}))
    assert "backends_file=" in repr(make_settings())
