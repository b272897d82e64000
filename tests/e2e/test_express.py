"""The express lane answers as gunicorn and Flask do, or not at all."""

from __future__ import annotations

import re
import socket
from binascii import crc32
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from app.web.express import recognize
from tests.harness import Gunicorn, RedisServer, record_key

pytestmark = pytest.mark.e2e

TOKEN = "from-an-older-deployment"
NAMES = [
    *(
        "Host",
        "Authorization",
        "X-Forwarded-Host",
        "X-Forwarded-Uri",
        "X-Forwarded-Method",
        "X-Forwarded-Proto",
    ),
    *(
        "User-Agent",
        "Accept",
        "Cookie",
        "Connection",
        "Content-Length",
        "Transfer-Encoding",
        "Expect",
        "Upgrade",
    ),
    *("X_Forwarded_Host", "X-Forwarded-Ssl", "SCRIPT_NAME", "Proxy-Authorization", "If-None-Match", "Range"),
]
VALUES = [
    *("a.test", "A.TEST:80", "b.test", "", "*", "a,b", "x y", "a\tb", " a.test ", "\x01", "\x7f", "\xe9"),
    *(
        f"Bearer {TOKEN}",
        f"bearer  {TOKEN}",
        "Bearer wrong",
        f"Bearer {TOKEN},Bearer x",
        "Bearer",
        "Basic eDp5",
    ),
    *(
        "close",
        "keep-alive",
        "Keep-Alive",
        "upgrade",
        "0",
        "5",
        "chunked",
        "100-continue",
        "https",
        "gzip, br",
    ),
]
LINES = [
    *("GET /auth HTTP/1.1", "GET /auth?a=b&c=%20 HTTP/1.1", "GET /auth?a#b HTTP/1.1", "GET /auth/ HTTP/1.1"),
    *(
        "GET /auth HTTP/1.0",
        "get /auth HTTP/1.1",
        "HEAD /auth HTTP/1.1",
        "POST /auth HTTP/1.1",
        "GET /authx HTTP/1.1",
    ),
    *(
        "GET  /auth HTTP/1.1",
        "GET http://a.test/auth HTTP/1.1",
        "GET /livez HTTP/1.1",
        "GET /%61uth HTTP/1.1",
    ),
    *("GET /auth HTTP/1.1 ", "GET /auth;x HTTP/1.1", "GET //auth HTTP/1.1", "OPTIONS /auth HTTP/1.1"),
]
USUAL = {"Host": "a.test", "Authorization": f"Bearer {TOKEN}", "X-Forwarded-Host": "a.test"}

field = st.tuples(
    st.sampled_from(NAMES), st.one_of(st.sampled_from(VALUES), st.text("ab:,;= \t\x00é", max_size=6))
)
known = st.tuples(st.sampled_from(NAMES[3:10]), st.sampled_from(VALUES))
usual = st.permutations(list(USUAL.items())) | st.lists(
    st.sampled_from(list(USUAL.items())), unique=True, max_size=3
)
separator = st.sampled_from([": ", ": ", ": ", ":", ":  ", " : ", ":\t"])
end = st.sampled_from(["\r\n", "\r\n", "\r\n", "\r\n", "\n", "\r", "\r\n "])


@st.composite
def heads(draw: Any) -> bytes:
    """Return a head: every other one well-formed, others mutated, now and then two in one write."""
    is_plain = draw(st.booleans())
    between, behind = (st.just(": "), st.just("\r\n")) if is_plain else (separator, end)
    line = draw(st.sampled_from(LINES[: 2 if is_plain else None]))
    fields = [*draw(usual), *draw(st.lists(known, max_size=2) if is_plain else st.lists(field, max_size=3))]
    lines = [line, *(name + draw(between) + value for name, value in fields)]
    last = "\r\n" if is_plain else draw(st.sampled_from(["\r\n", "\r\n", "\r\n", "\n", ""]))
    text = "".join(each + draw(behind) for each in lines) + last
    data: bytes = text.encode("latin-1")
    if not is_plain and draw(st.integers(0, 4)) == 0:
        at = draw(st.integers(0, len(data)))
        data = data[:at] + draw(st.binary(max_size=2)) + data[at + draw(st.integers(0, 2)) :]
    twice: int = draw(st.integers(0, 9))
    return data * 2 if twice == 0 else data


@pytest.fixture(scope="module")
def lanes() -> Iterator[tuple[int, int]]:
    """Run the express lane and plain gunicorn on one Redis; return their ports."""
    options = {"rate_limit_max": 0, "web_concurrency": 1, "log_level": "error"}
    with RedisServer() as redis, Gunicorn(redis.port, **options) as lane:
        redis.client().hset(record_key(TOKEN), mapping={"hosts": "a.test", "comment": "100% \x01"})
        with Gunicorn(redis.port, express_lane="false", **options) as plain:
            yield lane.port, plain.port


def exchange(port: int, data: bytes) -> list[bytes]:
    """Send *data* and nothing more; return all that comes back, without its date."""
    with socket.create_connection(("127.0.0.1", port), 60) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        received = b""
        try:
            while chunk := connection.recv(65_536):
                received += chunk
        except ConnectionResetError:
            pass
    return re.split(rb"(?<=\r\n)Date: [^\r]+\r\n", received)


@pytest.mark.timeout(600)
@settings(max_examples=4_000)
@given(data=heads())
def test_lane_answers_as_gunicorn_does(lanes: tuple[int, int], data: bytes) -> None:
    """Whatever is sent, the lane and plain gunicorn answer alike: status, headers, body and end.

    What the lane does not recognize is gunicorn's in both; of that, every other one is sent.
    """
    if recognize(data) is None and crc32(data) % 2:
        return
    lane, plain = lanes

    assert exchange(lane, data) == exchange(plain, data)


def test_usual_requests_take_the_lane() -> None:
    """What Traefik sends is recognized, so that the test above is about something."""
    head = (
        b"GET /auth HTTP/1.1\r\nHost: auth:8000\r\nUser-Agent: Go-http-client/1.1\r\n"
        b"Authorization: Bearer x\r\n"
        b"X-Forwarded-For: 10.0.0.1\r\nX-Forwarded-Host: a.test\r\nX-Forwarded-Method: GET\r\n"
        b"X-Forwarded-Proto: https\r\nX-Forwarded-Uri: /x?y=z\r\nAccept-Encoding: gzip\r\n\r\n"
    )
    recognized = recognize(head + b"rest")

    assert recognized
    assert recognized[1] == len(head)
    assert recognized[0].get("X-Forwarded-Host") == "a.test"


def test_connection_changes_lanes(lanes: tuple[int, int]) -> None:
    """On one connection recognized and other requests may follow one another, each answered in its place."""
    usual = "".join(f"{name}: {value}\r\n" for name, value in USUAL.items())
    requests = "".join(
        f"{line}\r\n{usual}\r\n" for line in ("GET /auth HTTP/1.1", "GET /livez HTTP/1.1", LINES[0])
    )

    answers = [exchange(port, requests.encode()) for port in lanes]

    assert answers[0] == answers[1]
    assert len(answers[0]) == 4
