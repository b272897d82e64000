"""gunicorn's parser with limits that it lacks (docs/decisions/0022)."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from gunicorn.http.errors import LimitRequestHeaders
from gunicorn.http.message import Request
from gunicorn.http.parser import RequestParser

from app.worker.heads import MAX_FIELDS, MAX_HEAD_BYTES

_MAX_CACHED_LINE = 4096


class BoundedRequest(Request):
    """A request whose dropped fields count too, and whose long URL stays in no cache."""

    def parse_request_line(self, line_bytes: bytes) -> None:
        """Parse the request line; urlsplit would cache the last 128 URLs, whatever their length."""
        try:
            super().parse_request_line(line_bytes)
        finally:
            if len(line_bytes) > _MAX_CACHED_LINE:
                urlsplit.cache_clear()  # type: ignore[attr-defined]

    def set_body_reader(self) -> None:
        """Choose the body reader; limit the trailer of a chunked body like one head, not like 300 of them."""
        self.max_buffer_headers = MAX_HEAD_BYTES
        super().set_body_reader()

    def parse_headers(self, data: bytes, from_trailer: bool = False) -> Any:  # noqa: FBT001, FBT002 - gunicorn's
        """Parse the fields; raises LimitRequestHeaders if there are too many.

        gunicorn does not count the fields that it drops, and its time grows with the square of their number.
        """
        if data.count(b"\r\n") >= MAX_FIELDS:
            raise LimitRequestHeaders("limit request headers fields")
        return super().parse_headers(data, from_trailer)


def install_bounded_parser() -> None:
    """Make gunicorn use BoundedRequest."""
    RequestParser.mesg_class = BoundedRequest
