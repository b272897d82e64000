"""Clients that send slowly, or nothing, cost others nothing and are not waited for."""

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


@pytest.fixture(scope="module", name="crowded", params=["true", "false"], ids=["express", "plain"])
def _crowded(request: pytest.FixtureRequest, redis_server: RedisServer) -> Iterator[Gunicorn]:
    """Run two workers for a thousand connections each, of which each may be silent for a second."""
    options = {"web_concurrency": 2, "rate_limit_max": 0, "express_lane": request.param}
    patience = {"gunicorn_cmd_args": "--keep-alive 1", "redis_deadline_ms": 5000}
    with Gunicorn(redis_server.port, **options, **patience) as service:
        yield service


@contextmanager
def _silent(port: int, count: int, said: bytes) -> Iterator[list[Connection]]:
    """Open *count* connections that say *said* and nothing more."""
    with ExitStack() as stack:
        connections = [stack.enter_context(Connection(port)) for _ in range(count)]
        for connection in connections:
            connection.send(said)
        yield connections


def _ask(service: Gunicorn, token: str) -> None:
    assert service.auth(token).status == 200


@pytest.mark.parametrize("said", [_HALF_HEAD, b""], ids=["half-heads", "silence"])
def test_thousand_connections(service: Gunicorn, token: str, said: bytes) -> None:
    """A thousand half heads, or a thousand connections without any, delay no decision."""
    with _silent(service.port, 1000, said):
        at_best(lambda: seconds(lambda: _ask(service, token)), 0.1)  # 2 ms on a quiet machine


@pytest.mark.parametrize("said", [_HALF_HEAD, b"", b"G"], ids=["half-head", "silence", "one-byte"])
def test_keepalive(crowded: Gunicorn, said: bytes) -> None:
    """Silence ends a connection after the keep-alive time-out, half a head after as long again."""

    def last_s() -> float:
        began = time.monotonic()
        with _silent(crowded.port, 20, said) as connections:
            assert all(connection.is_closed() for connection in connections)
        assert time.monotonic() - began > 0.9
        return time.monotonic() - began

    at_best(last_s, 4, tries=10)


@pytest.mark.parametrize("said", [_HALF_HEAD, b""], ids=["half-heads", "silence"])
def test_surplus(redis_server: RedisServer, token: str, said: bytes) -> None:
    """Who connects beyond worker_connections waits until one of the others is gone, and is answered then."""
    patience = {"gunicorn_cmd_args": "--worker-connections 5 --keep-alive 1", "redis_deadline_ms": 5000}
    with Gunicorn(redis_server.port, web_concurrency=1, **patience) as own:
        with _silent(own.port, 5, said), ThreadPoolExecutor(5) as pool:
            answers = [pool.submit(own.auth, token) for _ in range(5)]
            assert {answer.result().status for answer in answers} == {200}
        assert own.log.count("Booting worker") == 1


@pytest.mark.parametrize("lane", ["true", "false"], ids=["express", "plain"])
def test_announced_body_on_auth(redis_server: RedisServer, token: str, lane: str) -> None:
    """A body that /auth is promised is not waited for: the answer comes at once, then the end."""
    head = f"GET /auth HTTP/1.1\r\nHost: x\r\nX-Forwarded-Host: a.test\r\nAuthorization: Bearer {token}\r\n"
    with (
        Gunicorn(redis_server.port, express_lane=lane, redis_deadline_ms=5000) as own,
        Connection(own.port) as connection,
    ):
        connection.send(head.encode() + b"Content-Length: 10000000\r\n\r\n")
        answer = connection.read()

        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert connection.is_closed()


def test_slow_bodies(service: Gunicorn, token: str) -> None:
    """A form whose body does not come is given up after five seconds, and told so; others don't notice."""

    def last_s() -> float:
        began = time.monotonic()
        with _silent(service.port, 200, _FORM + _OPERATOR + b"\r\nhosts=") as connections:
            _ask(service, token)
            time.sleep(1)
            for connection in connections:
                connection.send(b"a")  # a byte now and then makes it no quicker
            answers = [connection.read() for connection in connections]
        assert {(answer.status, answer.headers["connection"]) for answer in answers} == {(408, "close")}
        assert "did not arrive in time; nothing was changed" in answers[0].text
        assert time.monotonic() - began > 4.5
        return time.monotonic() - began

    at_best(last_s, 8, tries=5)


def test_slow_body_of_a_stranger(service: Gunicorn) -> None:
    """Who has no password is refused without a byte of the body."""

    def ask() -> None:
        with Connection(service.port) as connection:
            connection.send(_FORM + b"\r\n")
            assert connection.read().status == 401
            assert connection.is_closed()

    at_best(lambda: seconds(ask), 1)


def test_form_in_pieces(service: Gunicorn) -> None:
    """A body may come in pieces, as long as it comes."""
    with Connection(service.port) as connection:
        connection.send(_FORM + _OPERATOR + b"\r\n")
        for byte in b"hosts=a.test":
            connection.send(bytes([byte]))
            time.sleep(0.01)  # less than what is waited for, twelve times over: see test_slow_bodies

        assert connection.read().status == 200


def test_idle_crowd(service: Gunicorn, token: str) -> None:
    """Beside 1 800 idle connections, of 2 000 that there may be, a decision takes as long as ever."""
    ask = [*forwarded("a.test"), *bearer(token)]
    with Connection(service.port) as known, _silent(service.port, 1800, b""):
        at_best(
            lambda: median(seconds(lambda: known.call("/auth", ask)) for _ in range(50)), 0.05
        )  # 1 ms on a quiet machine


def test_stalled_handshakes(redis_server: RedisServer, tmp_path: Path) -> None:
    """With TLS, who never shakes hands is hung up on like who never asks, and no stop waits for him."""
    tls = Certificate(tmp_path)
    own = OverTLS(redis_server.port, web_concurrency=1)
    own.env["GUNICORN_CMD_ARGS"] = (
        f"--certfile {tls.file} --keyfile {tls.key} --worker-connections 5 --keep-alive 1"
    )
    with own:
        with _silent(own.port, 5, b""):
            assert own.is_ready()
        with _silent(own.port, 3, b"\x16"):
            assert own.stop() == 0
        assert "graceful timeout" not in own.log


class OverTLS(Gunicorn):
    """A service with TLS."""

    def is_ready(self) -> bool:
        """Tell whether it answers /livez over TLS."""
        anybody = ssl.create_default_context()
        anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
        with (
            socket.create_connection(("127.0.0.1", self.port), 10) as raw,
            anybody.wrap_socket(raw) as client,
        ):
            client.sendall(b"GET /livez HTTP/1.0\r\nHost: x\r\n\r\n")
            return client.recv(100).startswith(b"HTTP/1.0 200")
