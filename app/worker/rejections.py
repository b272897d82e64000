"""Responses to requests that gunicorn's parser rejects, and how such a connection ends (docs/decisions/0022).

Neither the response nor the log repeats any part of the request: malformed input may contain a credential.
"""

from __future__ import annotations

import json
import logging
import re
from contextlib import suppress
from http import HTTPStatus
from typing import Any

import gevent
from gevent import socket
from gunicorn.http import errors
from gunicorn.util import http_date

from app.pauses import pause
from app.web.problems import API, SELF
from app.worker.heads import HeadSocket, OverloadedError

_STATUSES: dict[type[BaseException], HTTPStatus] = {
    errors.LimitRequestHeaders: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    errors.ExpectationFailed: HTTPStatus.EXPECTATION_FAILED,
    errors.UnsupportedTransferCoding: HTTPStatus.NOT_IMPLEMENTED,
    OverloadedError: HTTPStatus.SERVICE_UNAVAILABLE,
}
# Below whatever BASE_PATH, which is not known here.
_API = re.compile(rf"[!-~]+ (?:https?://[^/ ]*)?[\w./~-]*?(?:{API}|{SELF})[/? ]".encode())
# A response is lost if the client still sends when the socket is closed: the kernel resets the connection.
_LINGER_S = 1.0
_READ_BYTES = 65_536
_log = logging.getLogger(__name__)


def reject(client: HeadSocket, address: Any, error: errors.ParseException) -> None:
    """Respond to a request that gunicorn's parser rejected with *error*; log only the class of *error*."""
    peer = address[0] if isinstance(address, tuple) else "unix"
    fields = {"client": peer, "error": type(error).__name__}
    _log.warning("rejected a malformed or oversized request: error=%(error)s client=%(client)s", fields)
    _send(client, _STATUSES.get(type(error), HTTPStatus.BAD_REQUEST))


def fail(client: HeadSocket, error: BaseException) -> None:
    """Respond with 500 to a request whose handling raised *error*, and log the traceback."""
    _log.error("a request could not be answered", exc_info=error)
    _send(client, HTTPStatus.INTERNAL_SERVER_ERROR)


def close_lingering(sock: Any, error: BaseException) -> None:
    """Close the write side, and for a moment read and discard what the client still sends."""
    sock.discard()
    error.__traceback__ = error.__context__ = None  # their frames hold what was read
    error.args, error.__dict__ = (), {}
    with suppress(OSError, gevent.Timeout), gevent.Timeout(_LINGER_S):
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(_READ_BYTES):
            pause()


def _send(client: HeadSocket, status: HTTPStatus) -> None:
    with suppress(OSError):
        client.sendall(_response(status, is_api=bool(_API.match(client.start))))


def _response(status: HTTPStatus, *, is_api: bool) -> bytes:
    kind, body = _problem(status) if is_api else ("text/plain; charset=utf-8", f"{status.phrase.lower()}\n")
    return (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nDate: {http_date()}\r\nConnection: close\r\n"
        f"Content-Type: {kind}\r\nCache-Control: no-store\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


def _problem(status: HTTPStatus) -> tuple[str, str]:
    problem = {"type": "about:blank", "title": status.phrase, "status": status.value, "detail": status.phrase}
    return "application/problem+json", json.dumps(problem)
