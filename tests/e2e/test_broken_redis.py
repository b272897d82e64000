"""A Redis that answers, but not what was asked: a proxy in between, a broken module, another server."""

from __future__ import annotations

import socketserver
from collections.abc import Callable, Iterator
from threading import Thread
from typing import Any

import hiredis
import pytest

from devkit.http import Connection, bearer, call, forwarded
from devkit.service import BASIC, Gunicorn
from devkit.waiting import until

ASK = [*forwarded("a.test"), *bearer("some-token")]


SOUND = object()  # in place of an answer to everything


class Raw(bytes):
    """What is sent as it is."""


def resp(value: Any) -> bytes:
    """Return *value* as Redis sends it."""
    if isinstance(value, Raw):
        return value
    if value is None:
        return b"$-1\r\n"
    if isinstance(value, int):
        return b":%d\r\n" % value
    if isinstance(value, list):
        return b"*%d\r\n" % len(value) + b"".join(map(resp, value))
    return b"$%d\r\n%s\r\n" % (len(value), value)


class StandIn(socketserver.ThreadingTCPServer):
    """Speaks the protocol of Redis, and answers every script with *reply* of its key and call."""

    allow_reuse_address = daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Session)
        self.reply: Callable[[bytes, bytes], Any] = good
        self.misfit: Any = SOUND


class _Session(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        commands = hiredis.Reader()
        while data := self.request.recv(65_536):
            commands.feed(data)
            while (command := commands.gets()) is not False:
                self.request.sendall(resp(self._answer(command)))

    def _answer(self, command: list[bytes]) -> Any:
        assert isinstance(self.server, StandIn)
        name = command[0].upper()
        if name in {b"EVALSHA", b"EVAL"}:
            return self.server.reply(command[3], command[-1])
        if self.server.misfit is not SOUND and name not in {b"HELLO", b"CLIENT", b"SELECT"}:
            return self.server.misfit
        return {b"SMEMBERS": [], b"INFO": b"redis_version:7.2.0\r\n", b"PING": Raw(b"+PONG\r\n")}.get(
            name, Raw(b"+OK\r\n")
        )


def good(key: bytes, number: bytes) -> Any:
    """Let in, as take.lua says it."""
    return [key, b"allowed", b"", b"", b"", number]


def told(*middle: Any) -> Callable[[bytes, bytes], Any]:
    """Return what answers *middle* between the right key and the right call."""
    return lambda key, number: [key, *middle, number]


BROKEN: dict[str, Callable[[bytes, bytes], Any]] = {
    "nothing": told(),
    "nil and int for texts": told(b"allowed", None, 5, []),
    "one text missing": told(b"allowed", b"", b""),
    "all texts missing": told(b"allowed"),
    "one text more": told(b"allowed", b"", b"", b"", b""),
    "lists for texts": told(b"wrong_host", [b""], [b""], [b""]),
    "unknown outcome": told(b"open", b"", b"", b""),
    "outcome in capitals": told(b"ALLOWED", b"", b"", b""),
    "nil for the outcome": told(None, b"", b"", b""),
    "a list for the outcome": told([b"allowed"], b"", b"", b""),
    "unknown with a text": told(b"unknown_token", b""),
    "expired without an id": told(b"expired_token"),
    "expired by nil": told(b"expired_token", None),
    "moved to nil": told(b"moved", None),
    "moved to bytes": told(b"moved", b"\xff" * 64),
    "moved to itself": lambda key, number: [key, b"moved", key.removeprefix(b"tokens:"), number],
    "limited without figures": told(b"rate_limited", b"", b"", b""),
    "nil for a figure": told(b"rate_limited", b"", b"", b"", None, 60, 1),
    "text for a figure": told(b"rate_limited", b"", b"", b"", b"100", 60, 1),
    "negative limit": told(b"rate_limited", b"", b"", b"", -1, 60, 1),
    "negative window": told(b"rate_limited", b"", b"", b"", 100, -60, 1),
    "no wait": told(b"rate_limited", b"", b"", b"", 100, 60, 0),
    "negative wait": told(b"rate_limited", b"", b"", b"", 100, 60, -1),
    "huge wait": told(b"rate_limited", b"", b"", b"", 100, 60, 2**62),
    "huge figures": told(b"rate_limited", b"", b"", b"", 2**62, 2**62, 2**62),
    "no list": lambda *_: b"OK",
    "nil": lambda *_: None,
    "an integer": lambda *_: 1,
    "an empty list": lambda *_: [],
    "key alone": lambda key, _: [key],
    "call alone": lambda _, number: [number],
    "call first": lambda key, number: [number, b"allowed", b"", b"", b"", key],
    "another key": lambda _, number: [b"tokens:x", b"allowed", b"", b"", b"", number],
    "an error inside": told(b"allowed", Raw(b"-ERR x\r\n"), b"", b""),
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
def stand_in() -> Iterator[StandIn]:
    """Run the stand-in for all tests here."""
    with StandIn() as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(scope="module", params=["express", "flask"])
def gunicorn(request: pytest.FixtureRequest, stand_in: StandIn) -> Iterator[Gunicorn]:
    """Run one worker in front of it, with the express lane or without."""
    lane = "true" if request.param == "express" else "false"
    with Gunicorn(stand_in.server_address[1], web_concurrency=1, express_lane=lane) as service:
        yield service


@pytest.mark.parametrize("kind", BROKEN)
def test_no_decision(gunicorn: Gunicorn, stand_in: StandIn, kind: str) -> None:
    """An answer that take.lua would not give is a 503, and the next request on the connection is answered."""
    with Connection(gunicorn.port) as connection:
        stand_in.reply = good
        until(lambda: connection.call("/auth", ASK).status == 200)
        stand_in.reply = BROKEN[kind]
        broken = connection.call("/auth", ASK)
        stand_in.reply = good

        assert (broken.status, broken.text) == (503, "redis unavailable")
        until(lambda: connection.call("/auth", ASK).status == 200)
    metrics = call(gunicorn.port, "/metrics").text
    assert 'verdict="unavailable"' in metrics


MISFITS: dict[str, Any] = {
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


@pytest.mark.parametrize("kind", MISFITS)
@pytest.mark.parametrize("may_sign_in", [True, False])
def test_no_page(gunicorn: Gunicorn, stand_in: StandIn, kind: str, may_sign_in: bool) -> None:  # noqa: FBT001
    """What the pages and the API can't make sense of is no fault of theirs, and no change is called done."""
    stand_in.misfit = MISFITS[kind]
    stand_in.reply = lambda key, _: [0, 0] if may_sign_in and b"logins" in key else MISFITS[kind]
    try:
        for method, target, content, body in PAGES:
            answer = call(gunicorn.port, target, [("Authorization", BASIC), content], method, body)
            assert answer.status in ({404, 503} if method == "GET" else {404, 409, 503}), (method, target)
    finally:
        stand_in.misfit = SOUND


def test_broken_answers_harm_no_other(gunicorn: Gunicorn, stand_in: StandIn) -> None:
    """Between broken answers for one token, another on the same shared connection is decided on."""
    stand_in.reply = good
    until(lambda: call(gunicorn.port, "/auth", ASK).status == 200)
    (other,) = seen_keys(gunicorn, stand_in, "other-token")
    stand_in.reply = lambda key, number: (good if key == other else told(b"allowed", None))(key, number)

    with Connection(gunicorn.port) as connection:
        statuses = [
            connection.call("/auth", [*forwarded("a.test"), *bearer(text)]).status
            for text in ("some-token", "other-token") * 20
        ]

    assert statuses == [503, 200] * 20


def seen_keys(gunicorn: Gunicorn, stand_in: StandIn, text: str) -> set[bytes]:
    """Return the keys that are asked for when *text* is presented."""
    keys: set[bytes] = set()

    def note(key: bytes, number: bytes) -> Any:
        keys.add(key)
        return good(key, number)

    stand_in.reply = note
    call(gunicorn.port, "/auth", [*forwarded("a.test"), *bearer(text)])
    return keys
