"""Replies that no Redis with our scripts would send: from a proxy in between, a bug or another server."""

from __future__ import annotations

import socketserver
from collections.abc import Callable, Iterator
from typing import Any

import hiredis
import pytest

from devkit.http import Connection, bearer, call, forwarded
from devkit.server import Server
from devkit.service import BASIC, Gunicorn
from devkit.waiting import until

ASK = [*forwarded("a.test"), *bearer("some-token")]


NORMAL = object()  # stands for "answer normally"


class Raw(bytes):
    """Bytes that are sent unchanged."""


def resp(value: Any) -> bytes:
    """Return *value* encoded as a RESP reply."""
    if isinstance(value, Raw):
        return value
    if value is None:
        return b"$-1\r\n"
    if isinstance(value, int):
        return b":%d\r\n" % value
    if isinstance(value, list):
        return b"*%d\r\n" % len(value) + b"".join(map(resp, value))
    return b"$%d\r\n%s\r\n" % (len(value), value)


class FakeRedis(Server):
    """Speaks RESP and answers every script call with ``reply(key, call number)``."""

    def __init__(self) -> None:
        super().__init__(_Session)
        self.reply: Callable[[bytes, bytes], Any] = good
        self.odd_reply: Any = NORMAL


class _Session(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        commands = hiredis.Reader()
        while data := self.request.recv(65_536):
            commands.feed(data)
            while (command := commands.gets()) is not False:
                self.request.sendall(resp(self._answer(command)))

    def _answer(self, command: list[bytes]) -> Any:
        assert isinstance(self.server, FakeRedis)
        name = command[0].upper()
        if name in {b"EVALSHA", b"EVAL"}:
            return self.server.reply(command[3], command[-1])
        if self.server.odd_reply is not NORMAL and name not in {b"HELLO", b"CLIENT", b"SELECT"}:
            return self.server.odd_reply
        return {b"SMEMBERS": [], b"INFO": b"redis_version:7.2.0\r\n", b"PING": Raw(b"+PONG\r\n")}.get(
            name, Raw(b"+OK\r\n")
        )


def good(key: bytes, number: bytes) -> Any:
    """Allow the request, in the reply format of take.lua."""
    return [key, b"allowed", b"", b"", b"", number]


def reply_with(*middle: Any) -> Callable[[bytes, bytes], Any]:
    """Return a reply function that puts *middle* between the correct key and the correct call number."""
    return lambda key, number: [key, *middle, number]


BROKEN: dict[str, Callable[[bytes, bytes], Any]] = {
    "nothing": reply_with(),
    "nil and int for texts": reply_with(b"allowed", None, 5, []),
    "one text missing": reply_with(b"allowed", b"", b""),
    "all texts missing": reply_with(b"allowed"),
    "one text more": reply_with(b"allowed", b"", b"", b"", b""),
    "lists for texts": reply_with(b"wrong_host", [b""], [b""], [b""]),
    "unknown outcome": reply_with(b"open", b"", b"", b""),
    "outcome in capitals": reply_with(b"ALLOWED", b"", b"", b""),
    "nil for the outcome": reply_with(None, b"", b"", b""),
    "a list for the outcome": reply_with([b"allowed"], b"", b"", b""),
    "unknown with a text": reply_with(b"unknown_token", b""),
    "unknown with another ending": reply_with(b"unknown_token", b"0" * 16, b"expired"),
    "expired without an id": reply_with(b"expired_token"),
    "expired by nil": reply_with(b"expired_token", None),
    "moved to nil": reply_with(b"moved", None, b""),
    "moved to bytes": reply_with(b"moved", b"\xff" * 64, b""),
    "moved to itself": lambda key, number: [key, b"moved", key.removeprefix(b"tokens:"), b"", number],
    "limited without figures": reply_with(b"rate_limited", b"", b"", b""),
    "nil for a figure": reply_with(b"rate_limited", b"", b"", b"", None, 60, 1),
    "text for a figure": reply_with(b"rate_limited", b"", b"", b"", b"100", 60, 1),
    "negative limit": reply_with(b"rate_limited", b"", b"", b"", -1, 60, 1),
    "negative window": reply_with(b"rate_limited", b"", b"", b"", 100, -60, 1),
    "no wait": reply_with(b"rate_limited", b"", b"", b"", 100, 60, 0),
    "negative wait": reply_with(b"rate_limited", b"", b"", b"", 100, 60, -1),
    "huge wait": reply_with(b"rate_limited", b"", b"", b"", 100, 60, 2**62),
    "huge figures": reply_with(b"rate_limited", b"", b"", b"", 2**62, 2**62, 2**62),
    "quota without figures": reply_with(b"quota_exceeded", b"", b"", b""),
    "quota with half of a limit": reply_with(b"quota_exceeded", b"", b"", b"", 100, 86400, 1, 5),
    "quota with nil for a limit": reply_with(b"quota_exceeded", b"", b"", b"", 100, 86400, 1, None, 60),
    "quota with three limits": reply_with(b"quota_exceeded", b"", b"", b"", 100, 86400, 1, 5, 60, 5, 60),
    "no list": lambda *_: b"OK",
    "nil": lambda *_: None,
    "an integer": lambda *_: 1,
    "an empty list": lambda *_: [],
    "key alone": lambda key, _: [key],
    "call alone": lambda _, number: [number],
    "call first": lambda key, number: [number, b"allowed", b"", b"", b"", key],
    "another key": lambda _, number: [b"tokens:x", b"allowed", b"", b"", b"", number],
    "an error inside": reply_with(b"allowed", Raw(b"-ERR x\r\n"), b"", b""),
    "an error without text": lambda *_: Raw(b"-\r\n"),
    "an error of bytes": lambda *_: Raw(b"-ERR \xff\xfe\r\n"),
    "a redirection to nowhere": lambda *_: Raw(b"-MOVED x\r\n"),
    "a redirection without port": lambda *_: Raw(b"-ASK 5 localhost\r\n"),
    "another protocol": lambda *_: Raw(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
    "a huge integer": lambda *_: Raw(b":99999999999999999999999999\r\n"),
    "a negative length": lambda *_: Raw(b"*-7\r\n"),
    "deep lists": lambda *_: Raw(b"*1\r\n" * 1_000 + b":1\r\n"),
}


@pytest.fixture(scope="module")
def fake_redis() -> Iterator[FakeRedis]:
    """Run one fake Redis for all tests of this module."""
    with FakeRedis() as server:
        yield server


@pytest.fixture(scope="module", params=["express", "flask"])
def gunicorn(request: pytest.FixtureRequest, fake_redis: FakeRedis) -> Iterator[Gunicorn]:
    """Run one worker on the fake Redis, with and without the express lane."""
    lane = "true" if request.param == "express" else "false"
    options = {"web_concurrency": 1, "express_lane": lane, "redis_deadline_ms": 2000}
    with Gunicorn(fake_redis.port, **options) as service:
        yield service


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_script_reply_is_503(gunicorn: Gunicorn, fake_redis: FakeRedis, kind: str) -> None:
    """A reply that take.lua cannot produce is a 503, and the connection still serves the next request."""
    with Connection(gunicorn.port) as connection:
        fake_redis.reply = good
        until(lambda: connection.call("/auth", ASK).status == 200)
        fake_redis.reply = BROKEN[kind]
        broken = connection.call("/auth", ASK)
        fake_redis.reply = good

        assert (broken.status, broken.text) == (503, "redis unavailable")
        until(lambda: connection.call("/auth", ASK).status == 200)
    metrics = call(gunicorn.port, "/metrics").text
    assert 'verdict="unavailable"' in metrics


ODD_REPLIES: dict[str, Any] = {
    "nil": None,
    "an integer": 7,
    "a huge integer": 2**62,
    "a text": b"x",
    "bytes": b"\xff\xfe",
    "an empty list": [],
    "nils": [None, None],
    "integers": [1, 2, 3],
    "lists": [[None], [1]],
    "a cursor and junk": [b"0", [b"tokens:" + b"a" * 64, None, 5]],
}
FORM, JSON = ("Content-Type", "application/x-www-form-urlencoded"), ("Content-Type", "application/json")
NAME = "a" * 64
PAGES: list[tuple[str, str, tuple[str, str], bytes | None]] = [
    *(("GET", target, JSON, None) for target in ("/", "/?q=a.test", "/?q=1", "/?q=@", f"/tokens/{NAME}")),
    *(("GET", f"/api/v1/tokens{rest}", JSON, None) for rest in ("", f"/{NAME}", "/0aaaaaaaaaaaaaaa")),
    ("POST", "/api/v1/tokens", JSON, b'{"hosts":["a.test"]}'),
    ("PATCH", f"/api/v1/tokens/{NAME}", JSON, b'{"comment":"x"}'),
    ("DELETE", f"/api/v1/tokens/{NAME}", JSON, None),
    ("POST", f"/api/v1/tokens/{NAME}/rotate", JSON, b"{}"),
    ("POST", "/create_token", FORM, b"hosts=a.test"),
    ("POST", "/delete_token", FORM, b"token=" + NAME.encode()),
]


@pytest.mark.parametrize("kind", ODD_REPLIES)
@pytest.mark.parametrize("may_sign_in", [True, False])
def test_broken_page_reply(gunicorn: Gunicorn, fake_redis: FakeRedis, kind: str, may_sign_in: bool) -> None:  # noqa: FBT001
    """A nonsensical reply is a 503 in pages and API, never a 500, and no change is reported as done."""
    fake_redis.odd_reply = ODD_REPLIES[kind]
    fake_redis.reply = lambda key, _: [0, 0] if may_sign_in and b"logins" in key else ODD_REPLIES[kind]
    try:
        for method, target, content, body in PAGES:
            answer = call(gunicorn.port, target, [("Authorization", BASIC), content], method, body)
            assert answer.status in ({404, 503} if method == "GET" else {404, 409, 503}), (method, target)
    finally:
        fake_redis.odd_reply = NORMAL


def test_broken_replies_do_not_affect_other_tokens(gunicorn: Gunicorn, fake_redis: FakeRedis) -> None:
    """Broken replies for one token do not affect another token on the same shared connection."""
    fake_redis.reply = good
    until(lambda: call(gunicorn.port, "/auth", ASK).status == 200)
    (other_key,) = requested_keys(gunicorn, fake_redis, "other-token")
    fake_redis.reply = lambda key, number: (good if key == other_key else reply_with(b"allowed", None))(
        key, number
    )

    with Connection(gunicorn.port) as connection:
        statuses = [
            connection.call("/auth", [*forwarded("a.test"), *bearer(secret)]).status
            for secret in ("some-token", "other-token") * 20
        ]

    assert statuses == [503, 200] * 20


def requested_keys(gunicorn: Gunicorn, fake_redis: FakeRedis, secret: str) -> set[bytes]:
    """Return the Redis keys that are requested when *secret* is presented."""
    keys: set[bytes] = set()

    def note(key: bytes, number: bytes) -> Any:
        keys.add(key)
        return good(key, number)

    fake_redis.reply = note
    call(gunicorn.port, "/auth", [*forwarded("a.test"), *bearer(secret)])
    return keys
