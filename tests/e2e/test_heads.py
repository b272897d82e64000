"""Large, slow and malformed request heads."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from devkit.http import Connection, bearer, call, forwarded
from devkit.proc import rss_bytes
from devkit.redis_server import RedisServer
from devkit.service import BASIC, Gunicorn
from devkit.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("many_files")]

KIB = 1024


@pytest.fixture(scope="module", name="lane", params=["true", "false"], ids=["express", "plain"])
def _lane(request: pytest.FixtureRequest, redis_server: RedisServer) -> Iterator[Gunicorn]:
    """Run one worker with debug logging, with and without the express lane."""
    options = {"web_concurrency": 1, "log_level": "debug", "redis_deadline_ms": 5000}
    with Gunicorn(redis_server.port, express_lane=request.param, **options) as service:
        yield service


LARGE = {
    "address": [("X-Forwarded-Uri", "/?q=" + "a" * 64 * KIB)],
    "cookie": [("Cookie", "a=" + "b" * 64 * KIB)],
    "name": [("X-" + "a" * 64 * KIB, "b")],
    "blanks": [("X-A", "b" + " " * 64 * KIB + "c")],
    "200 headers": [(f"X-Header-{number}", "a" * 100) for number in range(200)],
    "several": [(f"X-Header-{number}", "a" * 64 * KIB) for number in range(3)],
}


@pytest.mark.parametrize("fields", LARGE.values(), ids=LARGE.keys())
def test_large_heads_are_decided(lane: Gunicorn, fields: list[tuple[str, str]]) -> None:
    """A header of 64 KiB or 200 headers do not change the decision."""
    token = lane.issue("a.test")

    assert lane.auth(token, headers=fields).status == 200
    assert lane.auth(token[:-1], headers=fields).status == 401
    assert lane.auth(token, "b.test", headers=fields).status == 403


@pytest.mark.parametrize("target", ["/auth?" + "q" * 64 * KIB, "/auth/" + "p" * 64 * KIB])
def test_long_targets_are_decided(lane: Gunicorn, target: str) -> None:
    """Path and query string below /auth may be as long as a client's."""
    ask = [*forwarded("a.test"), *bearer(lane.issue("a.test"))]

    assert call(lane.port, target, ask).status == 200


def test_head_in_pieces(lane: Gunicorn) -> None:
    """A head may arrive byte by byte, and the requests after it are answered too."""
    token = lane.issue("a.test")
    head = (
        f"GET /auth HTTP/1.1\r\nHost: x\r\nX-Forwarded-Host: a.test\r\nAuthorization: Bearer {token}\r\n\r\n"
    )
    with Connection(lane.port) as connection:
        for byte in head.encode():
            connection.send(bytes([byte]))
        connection.send(head.encode() * 2)

        assert [connection.read().status for _ in range(3)] == [200, 200, 200]


def _peak(pid: int) -> int:
    """Return the peak resident memory of a process in bytes."""
    (line,) = re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(line) * KIB


@pytest.mark.parametrize("line", ["GET /auth", "POST /create_token"])
def test_thousand_slow_and_huge_heads(lane: Gunicorn, line: str) -> None:
    """A thousand unfinished heads of 200 KiB use little memory and delay no other client."""
    token = lane.issue("a.test")
    (worker,) = lane.workers
    before = rss_bytes(worker)
    large = [("X-Forwarded-Uri", "/" + "a" * 60 * KIB)]
    with ExitStack() as stack:
        for _ in range(1000):
            slow = stack.enter_context(Connection(lane.port))
            _flood(slow, f"{line} HTTP/1.1\r\nHost: x\r\nX-A: ".encode() + b"a" * 200 * KIB)
        statuses = {lane.auth(token, headers=large).status for _ in range(5)}
        held = rss_bytes(worker) - before

    assert statuses == {200}
    assert held < 48 * KIB * KIB


@pytest.fixture(name="fresh", params=["true", "false"], ids=["express", "plain"])
def _fresh(request: pytest.FixtureRequest, redis_server: RedisServer) -> Iterator[Gunicorn]:
    """Run one worker without memory growth from other tests and with a long Redis deadline."""
    options = {"web_concurrency": 1, "redis_deadline_ms": 5000, "log_level": "error"}
    with Gunicorn(redis_server.port, express_lane=request.param, **options) as service:
        yield service


@pytest.mark.parametrize("line", ["GET /auth", "BREW /auth"])
def test_thousand_huge_heads_wait_for_redis(fresh: Gunicorn, redis_server: RedisServer, line: str) -> None:
    """A thousand complete heads of 250 KiB that wait for a hung Redis do not exhaust a worker's memory."""
    (worker,) = fresh.workers
    ask = [*forwarded("a.test"), *bearer(fresh.issue("a.test"))]
    fields = "".join(f"{name}: {value}\r\n" for name, value in ask)
    data = f"{line} HTTP/1.1\r\n{fields}Connection: close\r\nX-A: {'a' * 250 * KIB}\r\n\r\n".encode()
    assert call(fresh.port, "/auth", ask).status == 200
    before = rss_bytes(worker)
    redis_server.pause()
    try:
        with ExitStack() as stack:
            clients = [stack.enter_context(Connection(fresh.port)) for _ in range(950)]
            for connection in clients:
                _flood(connection, data)
            answers = [connection.rest() for connection in clients]
    finally:
        redis_server.resume()

    assert _peak(worker) - before < 80 * KIB * KIB
    assert {answer[:12] for answer in answers} <= {b"", b"HTTP/1.1 503"}
    until(lambda: call(fresh.port, "/auth", ask).status == 200)


@pytest.mark.parametrize("next_bytes", [b"", b"G", b"BREW /x HTTP/1.1\r\nX: " + b"a" * 120_000])
def test_answered_heads_are_released(fresh: Gunicorn, next_bytes: bytes) -> None:
    """A connection waiting for its next request holds no memory of the last one and little of the next."""
    (worker,) = fresh.workers
    before = rss_bytes(worker)
    head = b"BREW /auth HTTP/1.1\r\nHost: x\r\nX-A: " + b"a" * 250 * KIB + b"\r\n\r\n"
    with ExitStack() as stack:
        for _ in range(400):
            idle = stack.enter_context(Connection(fresh.port))
            _flood(idle, head + next_bytes)
            assert idle.read().status == 401
        assert rss_bytes(worker) - before < 48 * KIB * KIB


@pytest.mark.parametrize("end", ["Content-Length: 5", "Content-Length: 5\r\nContent-Length: 5"])
def test_open_connections_release_their_memory(lane: Gunicorn, end: str) -> None:
    """A client that keeps its connection open after an answer does not take memory budget from others."""
    huge = f"POST /auth HTTP/1.1\r\n{end}\r\nX-A: {'a' * 250 * KIB}\r\n\r\n".encode()
    with ExitStack() as stack:
        for _ in range(80):
            answered = stack.enter_context(Connection(lane.port))
            answered.send(huge)
            assert answered.read().status in {400, 401}


def test_dropped_fields_count(lane: Gunicorn) -> None:
    """A head with 50 000 fields is refused even if gunicorn would drop them all by name."""
    for target in ("/auth", "/livez"):
        assert call(lane.port, target, [("_", "")] * 50_000).status == 431


def _flood(connection: Connection, data: bytes) -> None:
    """Send *data*, ignoring a peer that stops reading."""
    with suppress(OSError):
        connection.send(data)


@pytest.mark.parametrize("lane", ["true"], indirect=True)
def test_burst_of_large_heads(lane: Gunicorn) -> None:
    """Three hundred large heads that arrive at once, far more than fit the memory budget, are all decided."""
    token = lane.issue("a.test")
    head = (
        f"GET /auth HTTP/1.1\r\nHost: x\r\nX-Forwarded-Host: a.test\r\nAuthorization: Bearer {token}\r\nX-A: "
    )
    lane.pause()
    with ExitStack() as stack:
        clients = [stack.enter_context(Connection(lane.port)) for _ in range(300)]
        for client in clients:
            client.send(head.encode() + b"a" * 100 * KIB + b"\r\n\r\n")
        lane.resume()
        assert {client.read().status for client in clients} == {200}


MALFORMED = {
    "no colon": "Authorization Bearer {}",
    "control": "Authorization: Bearer {}\x01",
    "folded": "Authorization: Bearer\r\n {}",
    "blank before the colon": "Authorization : Bearer {}",
    "expectation": "Expect: {}",
    "coding": "Transfer-Encoding: {}",
    "length": "Content-Length: {}",
    "too long": "Authorization: Bearer {}" + "a" * 300 * KIB,
    "unfinished": "Authorization: Bearer {}",
}
LINES = [
    "GET /auth HTTP/1.1",
    "GET /{} HTTP/9.9",
    "G(T /{} HTTP/1.1",
    "GET /{}\x01 HTTP/1.1",
    "GET /api/v1/tokens HTTP/1.1",
]


@pytest.mark.parametrize("fault", MALFORMED)
@pytest.mark.parametrize("line", LINES)
def test_malformed_requests_are_not_repeated(lane: Gunicorn, fault: str, line: str) -> None:
    """A malformed request is refused, and neither the response nor the debug log repeats any part of it."""
    secret = "acl_" + os.urandom(16).hex()
    end = "" if fault == "unfinished" else "\r\n\r\n"
    data = f"{line}\r\nHost: x\r\n{MALFORMED[fault]}{end}".replace("{}", secret)
    with Connection(lane.port) as connection:
        _flood(connection, data.encode("latin-1"))
        connection.finish()
        answers = connection.rest()

    assert not re.match(rb"HTTP/1.1 [25]", answers) or fault == "coding"
    assert secret.encode() not in answers
    assert secret not in lane.log


CHUNKS = [
    b"zz\r\nabc",
    b"5\r\nhosts",
    b"5\r\nhostsXX0\r\n\r\n",
    b"0\r\nx y: z\r\n\r\n",
    b"f" * 20,
    b"5;x\r\nab",
    b"",
]


@pytest.mark.parametrize("body", CHUNKS)
@pytest.mark.parametrize(
    ("target", "kind"),
    [("/create_token", "application/x-www-form-urlencoded"), ("/api/v1/tokens", "application/json")],
)
def test_malformed_bodies(lane: Gunicorn, target: str, kind: str, body: bytes) -> None:
    """A malformed or truncated chunked body is a 400 and leaves no traceback in the log."""
    head = f"POST {target} HTTP/1.1\r\nHost: x\r\nAuthorization: {BASIC}\r\nContent-Type: {kind}\r\n"
    with Connection(lane.port) as connection:
        connection.send(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + body)
        connection.finish()
        assert connection.read().status == 400

    assert "Traceback" not in lane.log


def test_paths_are_not_logged(lane: Gunicorn) -> None:
    """Not even the debug log contains a request's path or query, which may hold a token."""
    secret = "acl_" + os.urandom(16).hex()
    for target in (f"/tokens/{secret}", f"/?q={secret}", f"/auth/{secret}", f"/{secret}"):
        assert secret not in call(lane.port, target, [("Authorization", BASIC)]).text

    assert secret not in lane.log


def test_error_class_is_logged(lane: Gunicorn) -> None:
    """The log names the class of a parse error and the client's address."""
    with Connection(lane.port) as connection:
        connection.send(b"GET /auth HTTP/1.1\r\nnonsense\r\n\r\n")
        assert connection.read().status == 400

    until(lambda: "error=InvalidHeader client=127.0.0.1" in lane.log)


@pytest.mark.parametrize(
    ("target", "kind"),
    [("/auth", "text/plain; charset=utf-8"), ("/api/v1/tokens", "application/problem+json")],
)
def test_content_type_of_a_refusal(lane: Gunicorn, target: str, kind: str) -> None:
    """A head that is too large is answered in the content type of the route's other errors."""
    answer = call(lane.port, target, [("X-A", "a" * 300 * KIB), ("Authorization", BASIC)])

    assert (answer.status, answer.headers["content-type"]) == (431, kind)
    if target != "/auth":
        assert answer.json()["status"] == 431
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("line", [b"get /api/v1/tokens", b"GET http://localhost/api/v1/tokens"])
def test_content_type_for_an_unusual_request_line(lane: Gunicorn, line: bytes) -> None:
    """API clients get application/problem+json even for an unusual or malformed request."""
    with Connection(lane.port) as connection:
        connection.send(line + b" HTTP/1.1\r\nHost: x\r\nA B: c\r\n\r\n")
        answer = connection.read()

    assert (answer.status, answer.headers["content-type"]) == (400, "application/problem+json")


def test_new_hosts_fill_no_memory(redis_server: RedisServer) -> None:
    """Thousands of distinct long host names, with bad and rate-limited tokens, do not grow memory."""
    options = {
        "web_concurrency": 1,
        "log_level": "warning",
        "rate_limit_max": 1,
        "rate_limit_window_sec": 600,
    }
    with Gunicorn(redis_server.port, redis_deadline_ms=5000, **options) as service:
        (worker,) = service.workers
        credentials = ["x", service.issue("*")]
        for first in range(0, 5_000, 100):
            hosts = [f"{number}.{'.'.join('a' * 120)}" for number in range(first, first + 100)]
            assert set(_statuses(service, hosts, credentials)) <= {401, 429, 200}
        assert rss_bytes(worker) < 90 * KIB * KIB


def _statuses(service: Gunicorn, hosts: list[str], credentials: list[str]) -> list[int]:
    """Request every host with every credential in one write, and return the statuses."""
    heads = [
        f"GET /auth HTTP/1.1\r\nHost: x\r\nX-Forwarded-Host: {host}\r\nAuthorization: Bearer {secret}\r\n\r\n"
        for host in hosts
        for secret in credentials
    ]
    with Connection(service.port) as connection:
        connection.send("".join(heads).encode())
        return [connection.read().status for _ in heads]
