"""Clients that send slowly or not at all delay no other client and are not waited for."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

import pytest

from devkit.certificate import Certificate
from devkit.http import Connection, bearer, forwarded
from devkit.redis_server import RedisServer
from devkit.service import BASIC, Gunicorn
from devkit.waiting import at_best, seconds

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("many_files")]

_HALF_HEAD = b"GET /auth HTTP/1.1\r\nHost: x\r\nX-Forwarded-"
_FORM = (
    b"POST /create_token HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\n"
    b"Content-Type: application/x-www-form-urlencoded\r\n"
)
_OPERATOR = f"Authorization: {BASIC}\r\n".encode()


@pytest.fixture(scope="module", name="two_workers", params=["true", "false"], ids=["express", "plain"])
def _two_workers(request: pytest.FixtureRequest, redis_server: RedisServer) -> Iterator[Gunicorn]:
    """Run two workers for a thousand connections each, with a keep-alive timeout of one second."""
    options = {"web_concurrency": 2, "rate_limit_max": 0, "express_lane": request.param}
    patience = {"gunicorn_cmd_args": "--keep-alive 1", "redis_deadline_ms": 5000}
    with Gunicorn(redis_server.port, **options, **patience) as service:
        yield service


@contextmanager
def _silent(port: int, count: int, data: bytes) -> Iterator[list[Connection]]:
    """Open *count* connections that send *data* and nothing more."""
    with ExitStack() as stack:
        connections = [stack.enter_context(Connection(port)) for _ in range(count)]
        for connection in connections:
            connection.send(data)
        yield connections


def _ask(service: Gunicorn, token: str) -> None:
    assert service.auth(token).status == 200


@pytest.mark.parametrize("data", [_HALF_HEAD, b""], ids=["half-heads", "silence"])
def test_thousand_connections(service: Gunicorn, token: str, data: bytes) -> None:
    """A thousand open connections, silent or with half a head, delay no decision."""
    with _silent(service.port, 1000, data):
        at_best(lambda: seconds(lambda: _ask(service, token)), 0.1)  # 2 ms on a quiet machine


@pytest.mark.parametrize("data", [_HALF_HEAD, b"", b"G"], ids=["half-head", "silence", "one-byte"])
def test_keepalive(two_workers: Gunicorn, data: bytes) -> None:
    """A silent connection is closed after the keep-alive timeout, one with half a head after twice that."""

    def last_s() -> float:
        began = time.monotonic()
        with _silent(two_workers.port, 20, data) as connections:
            assert all(connection.is_closed() for connection in connections)
        assert time.monotonic() - began > 0.9
        return time.monotonic() - began

    at_best(last_s, 4, tries=10)


@pytest.mark.parametrize("data", [_HALF_HEAD, b""], ids=["half-heads", "silence"])
def test_connections_beyond_the_limit(redis_server: RedisServer, token: str, data: bytes) -> None:
    """A connection beyond worker_connections waits until another one closes, and is then answered."""
    patience = {"gunicorn_cmd_args": "--worker-connections 5 --keep-alive 1", "redis_deadline_ms": 5000}
    with Gunicorn(redis_server.port, web_concurrency=1, **patience) as gunicorn:
        with _silent(gunicorn.port, 5, data), ThreadPoolExecutor(5) as pool:
            answers = [pool.submit(gunicorn.auth, token) for _ in range(5)]
            assert {answer.result().status for answer in answers} == {200}
        assert gunicorn.log.count("Booting worker") == 1


@pytest.mark.parametrize("lane", ["true", "false"], ids=["express", "plain"])
def test_announced_body_on_auth(redis_server: RedisServer, token: str, lane: str) -> None:
    """An announced body on /auth is not waited for: the answer comes at once and closes the connection."""
    head = f"GET /auth HTTP/1.1\r\nHost: x\r\nX-Forwarded-Host: a.test\r\nAuthorization: Bearer {token}\r\n"
    with (
        Gunicorn(redis_server.port, express_lane=lane, redis_deadline_ms=5000) as gunicorn,
        Connection(gunicorn.port) as connection,
    ):
        connection.send(head.encode() + b"Content-Length: 10000000\r\n\r\n")
        answer = connection.read()

        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert connection.is_closed()


def test_slow_bodies(service: Gunicorn, token: str) -> None:
    """A form whose body does not arrive within five seconds gets a 408; other clients are not delayed."""

    def last_s() -> float:
        began = time.monotonic()
        with _silent(service.port, 200, _FORM + _OPERATOR + b"\r\nhosts=") as connections:
            _ask(service, token)
            time.sleep(1)
            for connection in connections:
                connection.send(b"a")  # a byte now and then does not extend the time limit
            answers = [connection.read() for connection in connections]
        assert {(answer.status, answer.headers["connection"]) for answer in answers} == {(408, "close")}
        assert "did not arrive in time; nothing was changed" in answers[0].text
        assert time.monotonic() - began > 4.5
        return time.monotonic() - began

    at_best(last_s, 8, tries=5)


def test_slow_body_without_password(service: Gunicorn) -> None:
    """A client without a password is refused before any of its body is read."""

    def ask() -> None:
        with Connection(service.port) as connection:
            connection.send(_FORM + b"\r\n")
            assert connection.read().status == 401
            assert connection.is_closed()

    at_best(lambda: seconds(ask), 1)


def test_form_in_pieces(service: Gunicorn) -> None:
    """A body may arrive in pieces, as long as it arrives in time."""
    with Connection(service.port) as connection:
        connection.send(_FORM + _OPERATOR + b"\r\n")
        for byte in b"hosts=a.test":
            connection.send(bytes([byte]))
            time.sleep(0.01)  # in total far less than the time limit that test_slow_bodies shows

        assert connection.read().status == 200


def test_idle_connections(service: Gunicorn, token: str) -> None:
    """With 1 800 of 2 000 possible connections open and idle, decisions take no longer than usual."""
    ask = [*forwarded("a.test"), *bearer(token)]
    with Connection(service.port) as known, _silent(service.port, 1800, b""):
        at_best(
            lambda: median(seconds(lambda: known.call("/auth", ask)) for _ in range(50)), 0.05
        )  # 1 ms on a quiet machine


def test_stalled_handshakes(redis_server: RedisServer, tmp_path: Path) -> None:
    """A stalled TLS handshake times out like an idle connection, and does not delay a stop."""
    tls = Certificate(tmp_path)
    gunicorn = OverTLS(redis_server.port, web_concurrency=1)
    gunicorn.env["GUNICORN_CMD_ARGS"] = (
        f"--certfile {tls.file} --keyfile {tls.key} --worker-connections 5 --keep-alive 1"
    )
    with gunicorn:
        with _silent(gunicorn.port, 5, b""):
            assert gunicorn.is_ready()
        with _silent(gunicorn.port, 3, b"\x16"):
            assert gunicorn.stop() == 0
        assert "graceful timeout" not in gunicorn.log


class OverTLS(Gunicorn):
    """A service with TLS."""

    def is_ready(self) -> bool:
        """Return whether /livez answers over TLS."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with (
            socket.create_connection(("127.0.0.1", self.port), 10) as raw,
            context.wrap_socket(raw) as client,
        ):
            client.sendall(b"GET /livez HTTP/1.0\r\nHost: x\r\n\r\n")
            return client.recv(100).startswith(b"HTTP/1.0 200")
