"""Every error below /api/v1 is a problem document, whichever layer finds it."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import pytest

from app.web.openapi import DESCRIPTION
from devkit.http import answers, call
from devkit.service import BASIC, Gunicorn

pytestmark = pytest.mark.e2e
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND")
AUTH = f"Authorization: {BASIC}"
JSON = "Content-Type: application/json"


def routes() -> Iterator[tuple[str, set[str]]]:
    """Yield the target and the methods of each route."""
    for path, item in DESCRIPTION["paths"].items():
        methods = {method.upper() for method in item.keys() - {"parameters"}}
        yield (
            f"/api/v1{path.replace('{name}', '0' * 16)}",
            methods | ({"HEAD"} if "GET" in methods else set()),
        )


def send(service: Gunicorn, *lines: str, body: bytes = b"") -> tuple[int, str, bytes]:
    """Send a request as it is; return the status, the media type and the body of the response."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=60) as client:
        client.sendall("\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1") + body)
        received = b""
        while chunk := client.recv(65_536):
            received += chunk
    (answer,) = answers(received)
    return answer.status, answer.headers["content-type"], answer.body


@pytest.mark.parametrize(("target", "allowed"), list(routes()))
def test_methods(service: Gunicorn, target: str, allowed: set[str]) -> None:
    """Each route says which methods it allows, to a request with any other one."""
    for method in METHODS:
        answer = call(service.port, target, [("Authorization", BASIC)], method)
        assert (answer.status == 405) == (method not in allowed), method
        if answer.status == 405:
            assert {*answer.headers["allow"].split(", ")} == allowed
            assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("status", "lines", "body"),
    [
        (400, ["GET /api/v1/tokens HTTP/1.1", "Host: a b"], b""),
        (400, ["GET /api/v1/tokens HTTP/1.1"], b""),
        (400, ["GET /api/v1/tokens HTTP/1.1", "Host: a.test", "Host: b.test"], b""),
        (400, ["GET /api/v1/tokens HTTP/1.1", "Host: a.test", "no colon"], b""),
        (400, ["GET /below/a.path/api/v1/tokens HTTP/1.1", "Host: a.test", "no colon"], b""),
        (400, ["GET /api/v1/tokens?q=\xff HTTP/1.1", "Host: a.test"], b""),
        (400, ["GET /api/v1/tokens?x=1 HTTP/1.1", "Host: a.test", AUTH], b""),
        (400, ["GET /api/v1/tokens HTTP/1.1", "Host: a.test", "Content-Length: x"], b""),
        (400, ["POST /api/v1/try HTTP/1.1", "Host: a.test", AUTH, JSON, "Content-Length: 1"], b"{"),
        (
            400,
            ["POST /api/v1/try HTTP/1.1", "Host: a.test", AUTH, JSON, "Transfer-Encoding: chunked"],
            b"x\r\n",
        ),
        (401, ["GET /api/v1/tokens HTTP/1.1", "Host: a.test"], b""),
        (401, ["GET /api/v1/openapi.json HTTP/1.1", "Host: a.test", "Authorization: Basic x"], b""),
        (403, ["GET /api/v1/tokens HTTP/1.1", "Host: a.test", AUTH, "X-Forwarded-Uri: /"], b""),
        (403, ["POST /api/v1/tokens HTTP/1.1", "Host: a.test", AUTH, "Origin: http://b.test"], b""),
        (404, ["GET /api/v1 HTTP/1.1", "Host: a.test", AUTH], b""),
        (404, ["GET /api/v1/ HTTP/1.1", "Host: a.test"], b""),
        (404, ["GET /api/v1/nowhere HTTP/1.1", "Host: a.test", AUTH], b""),
        (404, ["GET /api/v1/tokens/ HTTP/1.1", "Host: a.test", AUTH], b""),
        (404, ["GET /api/v1/tokens/unknown HTTP/1.1", "Host: a.test", AUTH], b""),
        (
            413,
            ["POST /api/v1/try HTTP/1.1", "Host: a.test", AUTH, JSON, "Content-Length: 70000"],
            b" " * 70_000,
        ),
        (415, ["POST /api/v1/tokens HTTP/1.1", "Host: a.test", AUTH, "Content-Length: 2"], b"{}"),
        (417, ["POST /api/v1/tokens HTTP/1.1", "Host: a.test", AUTH, "Expect: a-miracle"], b""),
        (431, ["GET /api/v1/tokens HTTP/1.1", "Host: a.test", *["X-A: b"] * 2000], b""),
        (501, ["POST /api/v1/try HTTP/1.1", "Host: a.test", "Transfer-Encoding: br, chunked"], b""),
    ],
)
def test_errors(service: Gunicorn, status: int, lines: list[str], body: bytes) -> None:
    """gunicorn, werkzeug, the guards and the views answer with problems."""
    found, kind, text = send(service, *lines, body=body)

    assert (found, kind) == (status, "application/problem+json")
    assert json.loads(text)["status"] == status
    assert json.loads(text)["detail"]


def test_long_line(service: Gunicorn) -> None:
    """A request line that is too long is a problem, too."""
    found, kind, _ = send(service, f"GET /api/v1/tokens?q={'a' * 1_000_000} HTTP/1.1", "Host: a.test")

    assert (found in {414, 431}, kind) == (True, "application/problem+json")
