"""gunicorn's parser, within bounds that it does not keep."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from gunicorn.http.errors import LimitRequestHeaders
from gunicorn.http.message import Request
from gunicorn.http.parser import RequestParser

from app.worker.heads import MAX_FIELDS, MAX_HEAD_BYTES

_MAX_CACHED_LINE = 4096


class BoundedRequest(Request):
    """A request, of which each line counts and none is kept."""

    def parse_request_line(self, line_bytes: bytes) -> None:
        """Parse it; urlsplit would keep the last 128 addresses, however long."""
        try:
            super().parse_request_line(line_bytes)
        finally:
            if len(line_bytes) > _MAX_CACHED_LINE:
                urlsplit.cache_clear()  # type: ignore[attr-defined]

    def set_body_reader(self) -> None:
        """Choose it; what follows the last chunk is bounded like a head, not like 300 of them."""
        self.max_buffer_headers = MAX_HEAD_BYTES
        super().set_body_reader()

    def parse_headers(self, data: bytes, from_trailer: bool = False) -> Any:  # noqa: FBT001, FBT002 - gunicorn's
        """Parse them; gunicorn counts none of those that it drops, and takes time by the square of all."""
        if data.count(b"\r\n") >= MAX_FIELDS:
            raise LimitRequestHeaders("limit request headers fields")
        return super().parse_headers(data, from_trailer)


def bound_parser() -> None:
    """Let gunicorn parse within the bounds."""
    RequestParser.mesg_class = BoundedRequest
