"""What gunicorn's parser would let a client take."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from gunicorn.config import Config
from gunicorn.http.errors import InvalidHTTPVersion, LimitRequestHeaders
from gunicorn.http.parser import RequestParser

from app.web.heads import MAX_FIELDS, MAX_HEAD_BYTES
from app.web.parser import bound_parser


def _parse(head: bytes) -> int:
    """Return how many fields gunicorn kept of *head*."""
    bound_parser()
    config = Config()
    for name, value in {
        "http_parser": "python",
        "limit_request_line": 0,
        "limit_request_fields": MAX_FIELDS,
        "limit_request_field_size": MAX_HEAD_BYTES,
    }.items():
        config.set(name, value)
    return len(next(RequestParser(config, iter([head]), ("127.0.0.1", 1))).headers)


def test_each_line_counts() -> None:
    """Fields that are dropped, as those with an underscore are, are bounded like all others."""
    for name in (b"X-A", b"X_A"):
        most = b"GET / HTTP/1.1\r\n%b\r\n" % ((name + b": b\r\n") * MAX_FIELDS)
        assert _parse(most) == (MAX_FIELDS if b"-" in name else 0)
        with pytest.raises(LimitRequestHeaders):
            _parse(most[:-2] + name + b": b\r\n\r\n")


def test_no_address_is_kept() -> None:
    """Long addresses, of good requests and of others, fill no cache."""
    for number in range(200):
        path = b"/%d" % number + b"a" * 10_000
        _parse(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % path)
        with pytest.raises(InvalidHTTPVersion):
            _parse(b"GET %b HTTP/9.9\r\nHost: x\r\n\r\n" % path)

    assert urlsplit.cache_info().currsize == 0  # type: ignore[attr-defined]
