"""The express lane answers exactly as gunicorn and Flask do, or leaves the request to them."""

from __future__ import annotations

import re
from binascii import crc32
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from time import sleep
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from app.core.credentials import parse_sources
from app.store.keys import REMEMBERED_MS
from app.worker.heads import MAX_HEAD_BYTES
from app.worker.recognizer import field_names, is_incomplete, recognize
from devkit import subrequests
from devkit.http import Connection
from devkit.redis_server import RedisServer
from devkit.service import Gunicorn, record_key
from devkit.wire import exchange

pytestmark = pytest.mark.e2e

TOKEN = "from-an-older-deployment"
SOURCES = "authorization,header:api-key"
READ = field_names(parse_sources(SOURCES))
RESTRICTED = "restricted"
ENDED = ("deleted", "replaced", "expired")
LISTS = {"hosts": "*", "methods": "GET", "paths": "/v1/*,/x", "networks": "192.0.2.0/24,2001:db8::/32"}
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
    "Api-Key",
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
    """Return the lines of a head: a captured one with random changes, or a random one."""
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
    """Return a head: half of them well-formed, the others mutated, and some sent twice in one write."""
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


@contextmanager
def both(**settings: object) -> Iterator[tuple[int, int]]:
    """Run the express lane and plain gunicorn on the same Redis, and return their ports."""
    options = {"web_concurrency": 1, "log_level": "error", "trusted_proxies": "private"}
    options |= {"credential_sources": SOURCES} | settings
    with RedisServer() as redis, Gunicorn(redis.port, **options) as lane:
        redis.client().hset(record_key(TOKEN), mapping={"hosts": "a.test", "comment": "100% \x01"})
        redis.client().hset(record_key(RESTRICTED), mapping=LISTS)
        for ending in ENDED:
            marker = f"{'0' * 16}\n{ending}\na.test\n\n"
            redis.client().set(f"{{{record_key(ending)}}}:ended", marker, px=REMEMBERED_MS)
        with Gunicorn(redis.port, express_lane="false", **options) as plain:
            yield lane.port, plain.port


@pytest.fixture(scope="module")
def lanes() -> Iterator[tuple[int, int]]:
    """Run both lanes without a rate limit."""
    with both(rate_limit_max=0) as ports:
        yield ports


@pytest.fixture(scope="module")
def json_lanes() -> Iterator[tuple[int, int]]:
    """Run both lanes with refusals in JSON and a token that is over its limit."""
    with both(rate_limit_max=1, rate_limit_window_sec=86_400, refusal_format="json") as ports:
        assert exchange(ports[0], request(LINES[0], USUAL)).startswith(b"HTTP/1.1 200 ")
        yield ports


def request(line: str, fields: Mapping[str, str]) -> bytes:
    """Return a request with the first line *line*."""
    return "\r\n".join([line, *(f"{name}: {value}" for name, value in fields.items()), "", ""]).encode()


def undated(port: int, data: bytes) -> list[bytes]:
    """Send *data*, close the sending side, and return the response split at its Date headers."""
    return re.split(rb"(?<=\r\n)Date: [^\r]+\r\n", exchange(port, data))


@pytest.mark.timeout(600)
@settings(max_examples=2_000)
@given(data=heads())
def test_lane_answers_as_gunicorn_does(lanes: tuple[int, int], data: bytes) -> None:
    """The express lane and plain gunicorn give the same status, headers, body and connection state.

    A head that the lane does not recognize goes to gunicorn in both; only half of those are sent.
    """
    if recognize(data, READ) is None and crc32(data) % 2:
        return
    lane, plain = lanes

    assert undated(lane, data) == undated(plain, data)


PRESENTED = {
    "X-Forwarded-Method": ["GET", "HEAD", "POST", "get", "GET, GET", ""],
    "X-Forwarded-Uri": [
        "/v1/a",
        "/v1/?b",
        "/x",
        "/y",
        "/v1/../x",
        "/v1/%2e",
        "/v1/\xe9",
        "/v1/a,b",
        "",
        "/v1/" + "a" * 9000,
    ],
    "X-Forwarded-For": [
        "192.0.2.7",
        "10.0.0.1",
        "192.0.2.7, 10.0.0.1",
        "x",
        "2001:db8::1",
        "::ffff:192.0.2.1",
        "",
    ],
}


@settings(max_examples=1_000)
@given(
    values=st.tuples(*(st.none() | st.sampled_from(values) for values in PRESENTED.values())),
    twice=st.sampled_from(["", "", "", *PRESENTED]),
)
def test_restrictions_in_both_lanes(
    lanes: tuple[int, int], values: tuple[str | None, ...], twice: str
) -> None:
    """Both lanes read what restrictions are compared with in the same way, from one field or from two."""
    usual = {**USUAL, "Authorization": f"Bearer {RESTRICTED}"} | dict(zip(PRESENTED, values, strict=True))
    fields = [(name, value) for name, value in usual.items() if value is not None]
    fields += [(name, value) for name, value in fields if name == twice]
    data = "GET /auth HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields) + "\r\n"

    lane, plain = (undated(port, data.encode("latin-1")) for port in lanes)
    assert lane == plain


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, 200),
        ({"X-Forwarded-Method": "PUT"}, 403),
        ({"X-Forwarded-Uri": "/y"}, 403),
        ({"X-Forwarded-For": "x"}, 403),
    ],
)
def test_restrictions_take_the_express_lane(
    lanes: tuple[int, int], changes: dict[str, str], status: int
) -> None:
    """The lane itself answers for a restricted token, and as the lists say."""
    fields = (
        USUAL
        | {"Authorization": f"Bearer {RESTRICTED}"}
        | {name: texts[0] for name, texts in PRESENTED.items()}
    )
    data = "GET /auth HTTP/1.1\r\n" + "".join(f"{n}: {v}\r\n" for n, v in (fields | changes).items()) + "\r\n"

    assert recognize(data.encode(), READ)
    assert [undated(port, data.encode())[0].split()[1] for port in lanes] == [f"{status}".encode()] * 2


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_ended_tokens(lanes: tuple[int, int], method: str) -> None:
    """Both lanes answer a deleted or replaced token with the very bytes for one that never was."""
    sent = (
        request(f"{method} /auth HTTP/1.1", USUAL | {"Authorization": f"Bearer {name}"}) for name in ENDED
    )
    deleted, replaced, expired = ([undated(port, data) for port in lanes] for data in sent)
    never = undated(lanes[0], request(f"{method} /auth HTTP/1.1", USUAL | {"Authorization": "Bearer never"}))

    assert deleted == replaced == [never] * 2
    assert never[0].startswith(b"HTTP/1.1 401 ")
    assert [b"the token expired" in b"".join(answer) for answer in (*expired, never)] == [True, True, False]


REFUSED = {
    401: {"X-Forwarded-Host": "a.test"},
    403: USUAL | {"X-Forwarded-Host": "b.test"},
    429: USUAL,
}


@pytest.mark.parametrize("status", REFUSED)
@pytest.mark.parametrize("line", ["GET /auth HTTP/1.1", "HEAD /auth HTTP/1.1", "POST /auth/x HTTP/1.0"])
def test_lane_refuses_in_json_as_gunicorn_does(json_lanes: tuple[int, int], line: str, status: int) -> None:
    """Both lanes refuse with the same bytes in JSON, except for times, which have four digits or more."""
    data = request(line, {"Host": "a.test"} | REFUSED[status])
    lane, plain = ([re.sub(rb"\d{4,}", b"", part) for part in undated(port, data)] for port in json_lanes)

    assert lane == plain
    assert b"".join(lane).split()[1] == b"%d" % status
    assert b"Content-Type: application/problem+json\r\n" in b"".join(lane)


BAD_BEGINNINGS = [
    *("GET /auth\n", "GET /auth\r\n", "GET /auth HTTP/1.1\n", "GET /auth HTTP/9.9\r\n"),
    *("GET /auth x HTTP/1.1\r\n", "GET /auth HTTP/1.1\r\nHost: x\r\nX-A: b\n"),
]


@pytest.mark.parametrize("data", BAD_BEGINNINGS)
@pytest.mark.parametrize("cut", [0, 1])
def test_bad_request_line_is_refused_at_once(lanes: tuple[int, int], data: str, cut: int) -> None:
    """Both lanes refuse a malformed request line at once, without waiting for the rest of the head."""
    for port in lanes:
        with Connection(port) as connection:
            connection.send(data[: len(data) - cut].encode())
            sleep(0.05 * cut)  # most likely arrives as two packets
            connection.send(data[len(data) - cut :].encode())
            assert connection.read().status == 400


def test_prefix_of_a_head_is_unfinished() -> None:
    """A prefix of a valid head is unfinished, no matter where it is cut, and the whole head is not."""
    head = HEADS[0]
    for cut in range(len("OPTIONS /auth"), len(head)):
        assert is_incomplete(head[:cut])
        assert is_incomplete(head[:cut], cut - 1)
        assert is_incomplete(head, cut) is False


@pytest.mark.parametrize("size", [MAX_HEAD_BYTES - 1, MAX_HEAD_BYTES, MAX_HEAD_BYTES + 1])
@pytest.mark.parametrize("target", ["/auth", "/livez"])
def test_longest_head_and_what_follows(lanes: tuple[int, int], size: int, target: str) -> None:
    """Both lanes accept a head of the maximum size and refuse a longer one, whatever follows it."""
    start = f"GET {target} HTTP/1.1\r\nHost: a.test\r\nX-A: "
    head = start + "a" * (size - len(start) - 4) + "\r\n\r\n"
    more = "GET /auth HTTP/1.1\r\nHost: x\r\n\r\n" * 3

    lane, plain = (undated(port, (head + more).encode()) for port in lanes)
    assert lane == plain
    assert len(lane) == (5 if size <= MAX_HEAD_BYTES else 2)


DOUBTFUL = re.compile(rb"\r\n(expect: 100-continue|connection: upgrade)\r\n", re.IGNORECASE)


@pytest.mark.parametrize("proxy", sorted({proxy for proxy, _, _ in subrequests.heads()}))
def test_proxy_requests_take_the_express_lane(proxy: str) -> None:
    """Requests captured from real proxies are recognized, except for upgrades and Expect."""
    heads = [data for name, _, data in subrequests.heads() if name == proxy and not DOUBTFUL.search(data)]

    assert len(heads) > 20
    assert [
        data for data in heads if not ((request := recognize(data, READ)) and request.end == len(data))
    ] == []


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        (f"api-KEY: {TOKEN}\r\n", b"200 OK"),
        (f"Api-Key: {TOKEN}\r\nApi-Key: {TOKEN}\r\n", b"401 UNAUTHORIZED"),
        (f"Api_Key: {TOKEN}\r\n", b"401 UNAUTHORIZED"),
        (f"Api-Key: {TOKEN}\r\nAuthorization: Bearer wrong\r\n", b"401 UNAUTHORIZED"),
    ],
)
def test_header_of_a_source(lanes: tuple[int, int], fields: str, status: bytes) -> None:
    """Both lanes read the header that CREDENTIAL_SOURCES names, and give the same response."""
    head = f"GET /auth HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-Host: a.test\r\n{fields}\r\n"
    lane, plain = (undated(port, head.encode()) for port in lanes)

    assert lane == plain
    assert lane[0].startswith(b"HTTP/1.1 " + status)


def test_connection_returns_to_the_express_lane() -> None:
    """After a request that gunicorn had to handle, the same connection returns to the express lane."""
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
    """Requests for either lane may alternate on one connection, and are answered in order."""
    usual = "".join(f"{name}: {value}\r\n" for name, value in USUAL.items())
    requests = "".join(
        f"{line}\r\n{usual}\r\n" for line in ("GET /auth HTTP/1.1", "GET /livez HTTP/1.1", LINES[0])
    )

    answers = [undated(port, requests.encode()) for port in lanes]

    assert answers[0] == answers[1]
    assert len(answers[0]) == 4
