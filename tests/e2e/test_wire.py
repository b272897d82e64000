"""Raw bytes, as no well-behaved proxy sends them, straight to gunicorn."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

import pytest

from devkit.http import Connection, call
from devkit.redis_server import RedisServer
from devkit.service import BASIC, Gunicorn
from devkit.waiting import at_best, seconds

pytestmark = pytest.mark.e2e

_LIVEZ = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"


def _auth(token: str, *more: bytes, line: bytes = b"GET /auth HTTP/1.1", body: bytes = b"") -> bytes:
    """Return a request that would be allowed but for *more* headers, *line* or *body*."""
    good = [b"Host: x", b"X-Forwarded-Host: a.test", b"Authorization: Bearer " + token.encode()]
    return b"\r\n".join([line, *good, *more, b"", body])


def _answers(service: Gunicorn, data: bytes) -> list[int]:
    """Send *data*, and return the statuses of all responses until the server closes the connection."""
    statuses: list[int] = []
    with Connection(service.port) as connection:
        connection.send(data)
        while True:
            try:
                statuses.append(connection.read().status)
            except ConnectionError:
                return statuses


_MALFORMED = {
    "CL and TE": [b"Content-Length: 5", b"Transfer-Encoding: chunked"],
    "space before the colon": [b"Transfer-Encoding : chunked"],
    "unknown coding": [b"Transfer-Encoding: xchunked"],
    "two codings": [b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"],
    "two lengths": [b"Content-Length: 5", b"Content-Length: 6"],
    "list of lengths": [b"Content-Length: 5, 5"],
    "signed length": [b"Content-Length: +5"],
    "hexadecimal length": [b"Content-Length: 0x5"],
    "negative length": [b"Content-Length: -1"],
    "folded line": [b"X-Folded: a", b" b"],
    "folded first": [b"X-A: b\r\n\tX-Forwarded-Host: b.test"],
    "bare LF": [b"X-A: b\nX-B: c"],
    "bare CR": [b"X-A: b\rX-B: c"],
    "NUL": [b"X-A: b\0c"],
    "two hosts": [b"Host: y"],
    "no name": [b": value"],
    "no colon": [b"nonsense"],
    "space in the name": [b"X A: b"],
    "parenthesis in the name": [b"X(A): b"],
    "300 kB header": [b"X-A: " + b"a" * 300_000],
    "300 kB of headers": [b"X-%d: " % number + b"a" * 3_000 for number in range(100)],
    "1000 headers": [b"X-%d: a" % number for number in range(1000)],
}
_BAD_LINES = [
    b"GET /auth",
    b"GET /auth HTTP/9.9",
    b"GET /auth HTTP/1.1 HTTP/1.1",
    b"GET  /auth HTTP/1.1",
    b"GET /au\0th HTTP/1.1",
    b"G(T /auth HTTP/1.1",
    b"GET /AUTH HTTP/1.1",
    b"GET /auth" + b"h" * 300_000 + b" HTTP/1.1",
    b"GET /auth/" + b"h" * 300_000 + b" HTTP/1.1",
    b"GET auth HTTP/1.1",
    b"GET * HTTP/1.1",
    b"OPTIONS * HTTP/1.1",
    b"PRI * HTTP/2.0",
]


@pytest.mark.parametrize("lines", _MALFORMED.values(), ids=_MALFORMED.keys())
def test_malformed_head(service: Gunicorn, token: str, lines: list[bytes]) -> None:
    """A malformed head is refused, and no later request on that connection is answered."""
    statuses = _answers(service, _auth(token, *lines) + _LIVEZ)

    assert len(statuses) == 1
    assert statuses[0] in {400, 403, 431, 501}
    assert service.auth(token).status == 200


@pytest.mark.parametrize("line", _BAD_LINES, ids=lambda line: line[:32].decode("latin-1"))
def test_bad_request_line(service: Gunicorn, token: str, line: bytes) -> None:
    """A request line that is not a well-formed request for /auth is refused."""
    statuses = _answers(service, _auth(token, b"Connection: close", line=line))

    assert len(statuses) == 1
    assert 400 <= statuses[0] < 500
    assert service.auth(token).status == 200


@pytest.mark.parametrize(
    "line",
    [
        b"GET /auth HTTP/1.0",
        b"GET http://b.test/auth HTTP/1.1",
        b"GET /auth? HTTP/1.1",
        b"GET /auth/ HTTP/1.1",
        b"POST /auth//v1/../%2e%2e/healthz%0a;a=b/%c3 HTTP/1.1",
        b"GET /auth/" + b"h" * 100_000 + b" HTTP/1.1",
        b"GET /auth?" + b"q" * 100_000 + b" HTTP/1.1",
        b"GET /auth?access_token=x&a=%00 HTTP/1.1",
        b"GET /%61uth HTTP/1.1",
        b"GET /auth#fragment HTTP/1.1",
        b"BREW /auth HTTP/1.1",
        b"CONNECT /auth HTTP/1.1",
        b"HEAD /auth HTTP/1.1",
    ],
)
def test_unusual_request_line(service: Gunicorn, token: str, line: bytes) -> None:
    """Unusual but valid request lines are decided by the token and the forwarded host as usual."""
    for sent, status in ((token, 200), (token[:-1], 401)):
        with Connection(service.port) as connection:
            connection.send(_auth(sent, line=line))
            assert connection.read(head=line.startswith(b"HEAD")).status == status


@pytest.mark.parametrize("position", ["inside", "behind"])
def test_every_byte_in_the_token(service: Gunicorn, token: str, position: str) -> None:
    """No additional byte in a token turns it into another valid one or causes a server error."""
    cut = 12 if position == "inside" else len(token)
    odd = {}
    for byte in range(256):
        value = token[:cut].encode() + bytes([byte]) + token[cut:].encode()
        data = b"GET /auth HTTP/1.1\r\nHost: x\r\nX-Forwarded-Host: a.test\r\nAuthorization: Bearer " + value
        with Connection(service.port) as connection:
            connection.send(data + b"\r\n\r\n")
            odd[byte] = connection.read().status
    optional_space = {0x09, 0x20} if position == "behind" else set()

    assert {byte for byte, status in odd.items() if status == 200} == optional_space
    assert set(odd.values()) <= {200, 400, 401}


@pytest.mark.parametrize(("host", "same"), [("a.te\0st", ""), ("a.test\0", " \t.:"), ("\0a.test", " \t")])
def test_every_byte_in_the_host(service: Gunicorn, token: str, host: str, same: str) -> None:
    """No added byte leaves a host valid, except outer white space, one trailing dot and an empty port."""
    statuses = {}
    for byte in range(256):
        field = host.replace("\0", chr(byte))
        with Connection(service.port) as connection:
            connection.send(b"GET /auth HTTP/1.1\r\nHost: x\r\nX-Forwarded-Host: " + field.encode("latin-1"))
            connection.send(b"\r\nAuthorization: Bearer " + token.encode() + b"\r\n\r\n")
            statuses[chr(byte)] = connection.read().status

    assert {byte for byte, status in statuses.items() if status == 200} == set(same)
    assert set(statuses.values()) <= {200, 400, 403}


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer a b",
        "Bearer a,b",
        "Bearer a, Bearer b",
        "Bearer a;b",
        'Bearer token="a"',
        "Bearer %61",
        "Bearer:a",
        "Token a",
        "Basic",
        "Basic !",
        "Basic eDp5",
        BASIC,
        "Digest username=x",
        "Negotiate abc",
        "bearer\ta",
    ],
    ids=lambda value: value[:20],
)
def test_malformed_credential(service: Gunicorn, value: str) -> None:
    """A malformed credential gets the error invalid_request in the challenge."""
    answer = service.auth(headers=[("Authorization", value)])

    assert (answer.status, answer.text) == (401, "invalid token")
    assert answer.headers["www-authenticate"].endswith('error="invalid_request"')


@pytest.mark.parametrize("value", ["Bearer {}", "bearer {}", "BEARER   {}", "  Bearer {}  "])
def test_scheme_case_and_spaces(service: Gunicorn, token: str, value: str) -> None:
    """The case of the scheme and the number of spaces after it do not matter."""
    assert service.auth(headers=[("Authorization", value.format(token))]).status == 200


def test_longest_token(service: Gunicorn) -> None:
    """A credential of the maximum length or longer is refused cleanly."""
    sizes = (512, 513, 8150, 8189, 20_000, 65_536, 300_000)

    assert [service.auth("a" * size).status for size in sizes] == [*[401] * 6, 431]


@pytest.mark.parametrize(
    ("target", "header", "body"),
    [
        ("/auth?access_token={0}&token={0}&Authorization=Bearer%20{0}", "Accept: */*", ""),
        ("/auth", "Cookie: access_token={0}; Authorization=Bearer {0}", ""),
        ("/auth", "Content-Type: application/x-www-form-urlencoded", "access_token={0}"),
        ("/auth", "Proxy-Authorization: Bearer {0}", ""),
        ("/auth", "X-Api-Key: {0}", ""),
        ("/auth", "X-Forwarded-Access-Token: {0}", ""),
        ("/auth", "X-Forwarded-Uri: /?access_token={0}", ""),
        ("http://x:{0}@localhost/auth", "Accept: */*", ""),
    ],
    ids=["query", "cookie", "form", "proxy", "api-key", "forwarded", "uri", "userinfo"],
)
def test_token_elsewhere(service: Gunicorn, token: str, target: str, header: str, body: str) -> None:
    """A token anywhere but in Authorization is ignored."""
    name, _, value = header.format(token).partition(": ")
    headers = [("X-Forwarded-Host", "a.test"), (name, value)]
    answer = call(service.port, target.format(token), headers, "POST", body.format(token).encode())

    assert (answer.status, answer.text) == (401, "missing bearer token")


@pytest.mark.parametrize(
    "name", ["X_Forwarded_Host", "X-Forwarded_Host", "X.Forwarded.Host", "X~Forwarded~Host"]
)
def test_alias_of_the_host(service: Gunicorn, token: str, name: str) -> None:
    """Other spellings of X-Forwarded-Host neither override nor replace it."""
    assert service.auth(token, "a.test", [(name, "b.test")]).status == 200
    assert service.auth(token, "b.test", [(name, "a.test")]).status == 403
    alone = [("Authorization", f"Bearer {token}"), (name, "a.test"), ("Host", "a.test")]
    assert call(service.port, "/auth", alone).status == 403


@pytest.mark.parametrize("second", ["a.test", "b.test", ""])
def test_two_hosts(service: Gunicorn, token: str, second: str) -> None:
    """Two X-Forwarded-Host headers count as none."""
    assert service.auth(token, "a.test", [("X-Forwarded-Host", second)]).status == 403


@pytest.mark.parametrize("name", ["SCRIPT_NAME", "PATH_INFO", "Script-Name", "X-Script-Name"])
@pytest.mark.parametrize("value", ["/auth", "/zzz", "/livez"])
def test_no_header_changes_the_path(service: Gunicorn, token: str, name: str, value: str) -> None:
    """No header changes the path of a request."""
    assert service.auth(token, headers=[(name, value)]).status == 200
    assert service.auth(headers=[(name, value)]).status == 401
    assert call(service.port, "/zzz", [(name, value)]).status == 404


@pytest.mark.parametrize(
    "body",
    [
        [b"Content-Length: %d" % len(_LIVEZ), b"", _LIVEZ],
        [b"Transfer-Encoding: chunked", b"", b"%x\r\n%s\r\n0\r\n\r\n" % (len(_LIVEZ), _LIVEZ)],
    ],
    ids=["length", "chunked"],
)
@pytest.mark.parametrize("line", [b"GET /auth HTTP/1.1", b"POST /auth HTTP/1.1"])
def test_request_in_a_body(service: Gunicorn, token: str, line: bytes, body: list[bytes]) -> None:
    """A body is never taken for the next request; it ends the connection."""
    nowhere = b"GET /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    data = _auth(token, *body[:-2], line=line) + body[-1]

    assert _answers(service, data + nowhere) == [200]


def test_pipeline(service: Gunicorn, token: str) -> None:
    """Pipelined requests are all answered, in order."""
    requests = [_auth(token), _auth("wrong"), _LIVEZ, _auth(token, line=b"POST /auth HTTP/1.1"), _auth("bad")]
    last = _auth(token, b"Connection: close")

    assert _answers(service, b"".join(requests) + last) == [200, 401, 200, 200, 401, 200]


@pytest.mark.parametrize("lane", ["true", "false"], ids=["express", "plain"])
def test_unix_socket(redis_server: RedisServer, token: str, tmp_path: Path, lane: str) -> None:
    """Several listeners, including a Unix socket, answer alike."""
    gunicorn = Gunicorn(redis_server.port, web_concurrency=1, redis_deadline_ms=5000, express_lane=lane)
    path = tmp_path / "auth.sock"
    gunicorn.env["GUNICORN_CMD_ARGS"] = f"--bind 127.0.0.1:{gunicorn.port} --bind unix:{path}"
    ask = _auth(token) + _LIVEZ + _auth("x")

    with gunicorn, socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(ask)
        client.shutdown(socket.SHUT_WR)
        received = b"".join(iter(lambda: client.recv(65_536), b""))
        assert re.findall(rb"HTTP/1.1 (\d+)", received) == [b"200", b"200", b"401"]
        assert gunicorn.auth(token).status == 200


@pytest.mark.parametrize("lane", ["true", "false"], ids=["express", "plain"])
@pytest.mark.parametrize("name", ["10.0.0.1", "\0\udcff"], ids=["address", "bytes"])
def test_name_of_a_unix_client(
    redis_server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lane: str, name: str
) -> None:
    """A Unix socket client is untrusted even if its socket is named like a proxy or in invalid bytes."""
    options = {"web_concurrency": 1, "redis_deadline_ms": 5000, "express_lane": lane}
    trust = {"trusted_proxies": "10.0.0.1", "fail_limit_max": 1}
    gunicorn = Gunicorn(redis_server.port, **options, **trust)
    gunicorn.env["GUNICORN_CMD_ARGS"] = f"--bind 127.0.0.1:{gunicorn.port} --bind unix:{tmp_path}/auth.sock"
    monkeypatch.chdir(tmp_path)

    with gunicorn, socket.socket(socket.AF_UNIX) as client:
        client.bind(os.fsencode(name))
        client.connect("auth.sock")
        client.sendall(_auth("x", b"X-Forwarded-For: 9.9.9.9") * 3 + _LIVEZ)
        client.shutdown(socket.SHUT_WR)
        received = b"".join(iter(lambda: client.recv(65_536), b""))
        assert re.findall(rb"HTTP/1.1 (\d+)", received) == [b"401", b"401", b"401", b"200"]
        assert "client=9.9.9.9" not in gunicorn.log


def test_head_in_pieces(service: Gunicorn, token: str) -> None:
    """A head may arrive in any number of packets."""
    with Connection(service.port) as connection:
        for byte in _auth(token):
            connection.send(bytes([byte]))
        assert connection.read().status == 200


@pytest.mark.parametrize("more", [[], [b"Expect: 100-continue"]], ids=["plain", "expect"])
def test_announced_body(service: Gunicorn, token: str, more: list[bytes]) -> None:
    """A decision does not wait for an announced body."""

    def ask() -> None:
        with Connection(service.port) as connection:
            connection.send(_auth(token, b"Content-Length: 10000000", *more))
            assert connection.read().status == 200

    at_best(lambda: seconds(ask), 1)


def test_large_body(service: Gunicorn, token: str) -> None:
    """Ten megabytes of unread body neither delay nor destroy the response."""
    assert _answers(service, _auth(token, b"Content-Length: 10000000", body=bytes(10_000_000))) == [200]
