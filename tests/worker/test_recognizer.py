"""Which header fields the express lane reads."""

from __future__ import annotations

from app.core.credentials import SOURCES, Source, parse_sources
from app.web.forwarded import LOGGED_HEADERS, READ_HEADERS
from app.worker import recognizer
from app.worker.recognizer import field_names, recognize

HEAD = b"GET /auth HTTP/1.1\r\nHost: a.test\r\nAPI-key: the-secret\r\nX-Other: b\r\n\r\n"


def test_header_of_a_source() -> None:
    """A header that a source reads is among the fields, under the name by which the source asks for it."""
    (source,) = parse_sources("header:api-key")
    request = recognize(HEAD, field_names([source]))

    assert request
    assert request.fields == {"Host": "a.test", source.header: "the-secret"}


def test_header_of_no_source() -> None:
    """A header that no source reads does not matter, as it does not to Flask."""
    request = recognize(HEAD, field_names([SOURCES["authorization"]]))

    assert request
    assert request.fields == {"Host": "a.test"}


def test_request_id() -> None:
    """A request with an id is answered by the lane, and its log line has the id."""
    numbered = HEAD.replace(b"X-Other: b", b"x-request-id: 7")
    request = recognize(numbered, field_names([SOURCES["authorization"]]))

    assert request
    assert request.fields == {"Host": "a.test", "X-Request-Id": "7"}


def test_fields_with_a_meaning_are_no_sources() -> None:
    """No source reads a field that the lane reads for another reason."""
    taken = {
        *READ_HEADERS,
        *LOGGED_HEADERS,
        *recognizer._FRAMING,
        *recognizer._UNSUPPORTED,
    }
    readable: list[Source] = []
    for name in taken:
        try:
            readable += parse_sources(f"header:{name}")
        except ValueError:
            continue

    assert readable == []
