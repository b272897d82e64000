"""The express lane answers as gunicorn and Flask do, or not at all."""

from __future__ import annotations

import re
from binascii import crc32
from collections.abc import Iterator
from time import sleep
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from app.worker.express import is_unfinished, recognize
from app.worker.heads import MAX_HEAD_BYTES
from devkit import subrequests
from devkit.http import Connection
from devkit.redis_server import RedisServer
from devkit.service import Gunicorn, record_key
from devkit.wire import exchange

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
        "POST /auth/v1//x?y HTTP/1.0",
        "PUT /auth/%2e./../healthz HTTP/1.1",
        "DELETE /auth;/x HTTP/1.1",
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


HEADS = [data for _, _, data in subrequests.heads()]
noise = st.tuples(
    st.one_of(
        st.sampled_from(NAMES),
        st.from_regex("[A-Za-z0-9-]{1,9}", fullmatch=True),
        st.text("a_-:; ", max_size=3),
    ),
    st.one_of(st.sampled_from(VALUES), st.text("ab:,;= \t\x00é", max_size=6), st.just("a" * 9_000)),
)


@st.composite
def lines(draw: Any) -> list[str]:
    """Return the lines of a head, most of it in order: of one that a proxy sent, or of a made-up one."""
    if draw(st.booleans()):
        first, *rest = draw(st.sampled_from(HEADS)).decode("latin-1").rstrip("\r\n").split("\r\n")
        added = [name + draw(separator) + value for name, value in draw(st.lists(noise, max_size=2))]
        for line in added:
            rest.insert(draw(st.integers(0, len(rest))), line)
        if draw(st.integers(0, 3)) == 0:
            rest.remove(draw(st.sampled_from(rest)))
        return [draw(st.one_of(st.just(first), st.sampled_from(LINES))), *rest]
    line = draw(st.one_of(st.just(LINES[0]), st.sampled_from(LINES)))
    fields = [*draw(usual), *draw(st.lists(field, max_size=3))]
    return [line, *(name + draw(separator) + value for name, value in fields)]


@st.composite
def heads(draw: Any) -> bytes:
    """Return a head: every other one well-formed, others mutated, now and then two in one write."""
    is_plain = draw(st.booleans())
    behind = st.just("\r\n") if is_plain else end
    text = "".join(each + draw(behind) for each in draw(lines()))
    text += "\r\n" if is_plain else draw(st.sampled_from(["\r\n", "\r\n", "\r\n", "\n", ""]))
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


def undated(port: int, data: bytes) -> list[bytes]:
    """Send *data* and nothing more; return all that comes back, without its date."""
    return re.split(rb"(?<=\r\n)Date: [^\r]+\r\n", exchange(port, data))


@pytest.mark.timeout(600)
@settings(max_examples=20_000)
@given(data=heads())
def test_lane_answers_as_gunicorn_does(lanes: tuple[int, int], data: bytes) -> None:
    """Whatever is sent, the lane and plain gunicorn answer alike: status, headers, body and end.

    What the lane does not recognize is gunicorn's in both; of that, every other one is sent.
    """
    if recognize(data) is None and crc32(data) % 2:
        return
    lane, plain = lanes

    assert undated(lane, data) == undated(plain, data)


BAD_BEGINNINGS = [
    *("GET /auth\n", "GET /auth\r\n", "GET /auth HTTP/1.1\n", "GET /auth HTTP/9.9\r\n"),
    *("GET /auth x HTTP/1.1\r\n", "GET /auth HTTP/1.1\r\nHost: x\r\nX-A: b\n"),
]


@pytest.mark.parametrize("data", BAD_BEGINNINGS)
@pytest.mark.parametrize("cut", [0, 1])
def test_bad_line_is_refused_when_it_arrives(lanes: tuple[int, int], data: str, cut: int) -> None:
    """Both refuse a bad line at once; nobody waits for the rest of a head that can't become a good one."""
    for port in lanes:
        with Connection(port) as connection:
            connection.send(data[: len(data) - cut].encode())
            sleep(0.05 * cut)  # most likely in two packets
            connection.send(data[len(data) - cut :].encode())
            assert connection.read().status == 400


def test_head_may_come_in_any_pieces() -> None:
    """Wherever a good head is cut, its beginning is waited with, until it is whole."""
    head = HEADS[0]
    for cut in range(len("OPTIONS /auth"), len(head)):
        assert is_unfinished(head[:cut])
        assert is_unfinished(head[:cut], cut - 1)
        assert is_unfinished(head, cut) is False


@pytest.mark.parametrize("size", [MAX_HEAD_BYTES - 1, MAX_HEAD_BYTES, MAX_HEAD_BYTES + 1])
@pytest.mark.parametrize("target", ["/auth", "/livez"])
def test_longest_head_and_what_follows(lanes: tuple[int, int], size: int, target: str) -> None:
    """A head as long as may be is answered in both, whatever follows it, and a longer one in neither."""
    start = f"GET {target} HTTP/1.1\r\nHost: a.test\r\nX-A: "
    head = start + "a" * (size - len(start) - 4) + "\r\n\r\n"
    more = "GET /auth HTTP/1.1\r\nHost: x\r\n\r\n" * 3

    lane, plain = (undated(port, (head + more).encode()) for port in lanes)
    assert lane == plain
    assert len(lane) == (5 if size <= MAX_HEAD_BYTES else 2)


DOUBTFUL = re.compile(rb"\r\n(expect: 100-continue|connection: upgrade)\r\n", re.IGNORECASE)


@pytest.mark.parametrize("proxy", sorted({proxy for proxy, _, _ in subrequests.heads()}))
def test_proxies_take_the_lane(proxy: str) -> None:
    """What real proxies send is recognized as a whole, but for what asks for more than an answer."""
    sent = [data for name, _, data in subrequests.heads() if name == proxy and not DOUBTFUL.search(data)]

    assert len(sent) > 20
    assert [data for data in sent if not ((request := recognize(data)) and request.end == len(data))] == []


def test_doubt_ends_with_its_request() -> None:
    """A request that goes to gunicorn does not keep the connection of a proxy out of the lane."""
    with (
        RedisServer() as redis,
        Gunicorn(redis.port, web_concurrency=1) as lane,
        Connection(lane.port) as proxy,
    ):
        doubtful = [*USUAL.items(), ("Authorization", "Bearer another")]
        statuses = [
            proxy.call("/auth", fields).status
            for fields in (doubtful, USUAL.items(), doubtful, USUAL.items())
        ]
        counted = lane.page("/metrics").text

    assert statuses == [401] * 4
    assert "acl_auth_express_total 2.0" in counted


def test_connection_changes_lanes(lanes: tuple[int, int]) -> None:
    """On one connection recognized and other requests may follow one another, each answered in its place."""
    usual = "".join(f"{name}: {value}\r\n" for name, value in USUAL.items())
    requests = "".join(
        f"{line}\r\n{usual}\r\n" for line in ("GET /auth HTTP/1.1", "GET /livez HTTP/1.1", LINES[0])
    )

    answers = [undated(port, requests.encode()) for port in lanes]

    assert answers[0] == answers[1]
    assert len(answers[0]) == 4
