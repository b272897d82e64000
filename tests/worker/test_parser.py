"""Limits that gunicorn's parser lacks."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import pytest
from gunicorn.config import Config
from gunicorn.http.errors import InvalidHTTPVersion, LimitRequestHeaders
from gunicorn.http.parser import RequestParser

from app.worker.heads import MAX_FIELDS, MAX_HEAD_BYTES
from app.worker.parser import install_bounded_parser


def _parse(*data: bytes) -> Any:
    """Return the request at the start of *data*."""
    install_bounded_parser()
    config = Config()
    for name, value in {
        "http_parser": "python",
        "limit_request_line": 0,
        "limit_request_fields": MAX_FIELDS,
        "limit_request_field_size": MAX_HEAD_BYTES,
    }.items():
        config.set(name, value)
    return next(RequestParser(config, iter(data), ("127.0.0.1", 1)))


def test_each_line_counts() -> None:
    """Fields that gunicorn drops, such as those with an underscore, count toward the limit too."""
    for name in (b"X-A", b"X_A"):
        most = b"GET / HTTP/1.1\r\n%b\r\n" % ((name + b": b\r\n") * MAX_FIELDS)
        assert len(_parse(most).headers) == (MAX_FIELDS if b"-" in name else 0)
        with pytest.raises(LimitRequestHeaders):
            _parse(most[:-2] + name + b": b\r\n\r\n")


def test_long_urls_are_not_cached() -> None:
    """Long URLs of good and bad requests are not kept in a cache."""
    for number in range(200):
        path = b"/%d" % number + b"a" * 10_000
        _parse(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % path)
        with pytest.raises(InvalidHTTPVersion):
            _parse(b"GET %b HTTP/9.9\r\nHost: x\r\n\r\n" % path)

    assert urlsplit.cache_info().currsize == 0  # type: ignore[attr-defined]


def test_trailer_is_limited() -> None:
    """The trailer after the last chunk is limited like a head."""
    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-A: "
    pieces = [b"a" * 8192] * (2 * MAX_HEAD_BYTES // 8192)

    with pytest.raises(LimitRequestHeaders):
        _parse(head, *pieces, b"\r\n\r\n").body.read()
