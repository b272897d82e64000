"""The tables of credential sources and identity headers."""

from __future__ import annotations

import pytest

from app.core.credentials import IDENTITY_HEADERS, SOURCES, accepted, curl, headers, owner
from app.core.verdicts import Identity


def test_identity_headers() -> None:
    """Each part of an identity has exactly one header."""
    identity = Identity(b"an id", b"an email", b"a comment")

    assert sorted(part(identity) for part in IDENTITY_HEADERS.values()) == sorted(identity)


@pytest.mark.parametrize(
    ("names", "value", "expected"),
    [
        (("authorization", "basic"), "Basic x", "basic"),
        (("basic", "authorization"), "bAsIc", "basic"),
        (("basic", "authorization"), "Bearer x", "authorization"),
        (("basic", "authorization"), "Digest x", "authorization"),
        (("basic", "authorization"), "", "authorization"),
        (("basic", "proxy-authorization"), "Bearer x", "basic"),
        (("authorization", "x-api-key"), "Basic x", "authorization"),
    ],
)
def test_source_that_reads_a_shared_header(names: tuple[str, ...], value: str, expected: str) -> None:
    """A value is read by the source whose scheme it has, else by the first in the table."""
    sources = [(source, sharing) for source, sharing in accepted(names) if source.header == "Authorization"]
    owners = [source for source, sharing in sources if not sharing or owner(value, sharing) is source]

    assert owners == [SOURCES[expected]]


@pytest.mark.parametrize("name", SOURCES)
def test_curl_command_of_each_source(name: str) -> None:
    """The curl command uses the source's header, or curl's option for a user name and password."""
    line = curl([name], "the-secret", "https://a.test/")
    sent = f'-H "{headers([name])[0]}: ' if name != "basic" else "-u token:"

    assert line.startswith(f"curl {sent}")
    assert line.endswith(" https://a.test/")
