"""No byte sequence sent to gunicorn grants access, causes an error or gets another request's response."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from devkit import corpus
from devkit.http import Connection
from devkit.redis_server import RedisServer
from devkit.service import BASIC, Gunicorn, record_key
from devkit.waiting import at_best, seconds
from devkit.wire import bearer, converse, request

pytestmark = pytest.mark.e2e

FIRST, SECOND, HIDDEN, OTHER = (f"token-{name}" for name in ("first", "second", "hidden", "other"))
HERE, THERE = (
    (b"Host: auth:8000", b"X-Forwarded-Host: a.test"),
    (b"Host: auth:8000", b"X-Forwarded-Host: b.test"),
)
REFUSED = {
    "no token": HERE,
    "unknown": (*HERE, bearer("unknown")),
    "token of another host": (*HERE, bearer(OTHER)),
    "another host": (*THERE, bearer(SECOND)),
    "no host": (b"Host: a.test", bearer(SECOND)),
}
Decision = tuple[int, str]
NEVER = {101, 500, 502, 503, 504}
refused = pytest.mark.parametrize("usual", REFUSED.values(), ids=REFUSED.keys())


@pytest.fixture(scope="module", name="gunicorn", params=["express", "plain"])
def _gunicorn(request: Any, redis_server: RedisServer) -> Iterator[Gunicorn]:
    """Run the service with and without the express lane, for tokens whose ids are their secrets."""
    for token in (FIRST, SECOND, HIDDEN, OTHER):
        hosts = "b.test" if token == OTHER else "a.test"
        redis_server.client().hset(record_key(token), mapping={"hosts": hosts, "id": token})
    lane = {"express_lane": str(request.param == "express").lower()}
    options = {"web_concurrency": 1, "redis_deadline_ms": 5000, "rate_limit_max": 0}
    with Gunicorn(redis_server.port, **options, **lane) as service:
        yield service


def _auth(token: str) -> bytes:
    return request(corpus.PLAIN, *HERE, bearer(token))


def _decisions(service: Gunicorn, data: bytes) -> list[Decision]:
    """Send *data* and return the status of each answer and the token that it names, if any."""
    received = converse(service.port, data)
    return [(answer.status, answer.headers.get("x-auth-token-id", "")) for answer in received]


def _is_refused(decisions: list[Decision]) -> bool:
    """Return whether FIRST was allowed, the attack refused, and SECOND allowed in its place or not at all."""
    first, *rest = decisions
    rest = rest[:-1] if len(rest) > 1 and rest[-1] == (200, SECOND) else rest
    statuses = {status for status, _ in rest}
    is_opened = any(200 <= status < 300 for status in statuses)
    return first == (200, FIRST) and not (statuses & NEVER or is_opened)


def _not_refused(service: Gunicorn, attacks: Mapping[str, bytes]) -> dict[str, list[Decision]]:
    """Send each attack between two good requests; return the answers to those that were not refused."""

    def send(attack: bytes) -> list[Decision]:
        return _decisions(service, _auth(FIRST) + attack + _auth(SECOND))

    with ThreadPoolExecutor(4) as pool:
        seen = dict(zip(attacks, pool.map(send, attacks.values()), strict=True))
    return {name: decisions for name, decisions in seen.items() if not _is_refused(decisions)}


@refused
def test_malformed_and_nested_requests(gunicorn: Gunicorn, usual: tuple[bytes, ...]) -> None:
    """No malformed, unusual or nested request is allowed without a token for its host."""
    ends = corpus.malformed() | corpus.remarks() | corpus.smuggling(_auth(HIDDEN))

    assert _not_refused(gunicorn, {name: request(end, *usual) for name, end in ends.items()}) == {}


@refused
def test_request_lines(gunicorn: Gunicorn, usual: tuple[bytes, ...]) -> None:
    """No request line and no host in a request line grants access."""
    lines = {name: line.replace(b"PATH", b"/auth") for name, line in corpus.LINES.items()}

    assert (
        _not_refused(
            gunicorn, {name: request(corpus.PLAIN, *usual, line=line) for name, line in lines.items()}
        )
        == {}
    )


def test_repeated_credential(gunicorn: Gunicorn) -> None:
    """Two credentials in one request are refused, regardless of their values and name case."""
    values = [value.replace(b"%b", SECOND.encode()) for value in corpus.CREDENTIALS]
    attacks = {
        f"{name!r} {pair}": request(corpus.PLAIN, *HERE, b"Authorization: " + pair[0], name + b": " + pair[1])
        for name in (b"Authorization", b"authorization")
        for pair in corpus.pairs(values)
    }

    assert _not_refused(gunicorn, attacks) == {}


def test_repeated_host(gunicorn: Gunicorn) -> None:
    """Two forwarded hosts in one request are refused, regardless of their values and name case."""
    attacks = {
        f"{name!r} {pair}": request(
            corpus.PLAIN, HERE[0], bearer(SECOND), b"X-Forwarded-Host: " + pair[0], name + b": " + pair[1]
        )
        for name in (b"X-Forwarded-Host", b"X-FORWARDED-HOST")
        for pair in corpus.pairs(corpus.HOSTS)
    }

    assert _not_refused(gunicorn, attacks) == {}


@pytest.mark.parametrize("name", corpus.READ, ids=lambda name: name.decode())
def test_every_byte_in_a_value(gunicorn: Gunicorn, name: bytes) -> None:
    """No byte value in a header that the service reads grants access or causes an error."""
    attacks = {f"{byte}": b"%b: a%bb" % (name, bytes([byte])) for byte in range(256)}

    assert (
        _not_refused(gunicorn, {each: request(corpus.PLAIN, *HERE, line) for each, line in attacks.items()})
        == {}
    )


@pytest.mark.parametrize(
    ("usual", "front", "back"),
    [
        (HERE, b"Author", b"ization: Bearer " + SECOND.encode()),
        (HERE, b"", bearer(SECOND)),
        ((*THERE, bearer(SECOND)), b"X-Forwarded", b"-Host: a.test"),
        ((*THERE, bearer(SECOND)), b"X-Forwarded-Host", b": a.test"),
    ],
    ids=[
        "inside Authorization",
        "before Authorization",
        "inside X-Forwarded-Host",
        "behind X-Forwarded-Host",
    ],
)
def test_every_byte_in_a_name(
    gunicorn: Gunicorn, usual: tuple[bytes, ...], front: bytes, back: bytes
) -> None:
    """No byte value inside or next to a header name turns it into a name that the service reads."""
    attacks = {f"{byte}": request(corpus.PLAIN, *usual, front + bytes([byte]) + back) for byte in range(256)}

    assert _not_refused(gunicorn, attacks) == {}


def test_other_headers_do_not_matter(gunicorn: Gunicorn) -> None:
    """Other headers and bodies never cause a valid token to be refused."""
    ends = {name: end for name, end in corpus.remarks().items() if " " not in name.partition("alias ")[2]}
    seen = {name: _decisions(gunicorn, request(end, *HERE, bearer(SECOND))) for name, end in ends.items()}

    assert {name: decisions for name, decisions in seen.items() if decisions != [(200, SECOND)]} == {}


def _form(path: bytes, body: bytes, length: int, *more: bytes) -> bytes:
    fields = (b"Host: x", b"Authorization: " + BASIC.encode(), b"Content-Length: %d" % length, *more)
    kind = b"Content-Type: application/x-www-form-urlencoded"
    return request(corpus.PLAIN, *fields, kind, line=b"POST %b HTTP/1.1" % path) + body


@pytest.mark.parametrize("more", [[], [b"Expect: 100-continue"]], ids=["plain", "expect"])
@pytest.mark.parametrize("path", [b"/create_token", b"/delete_token", b"/auth", b"/nowhere"])
def test_refusal_does_not_wait_for_body(gunicorn: Gunicorn, path: bytes, more: Iterable[bytes]) -> None:
    """The service refuses a request within 50 ms and does not wait for an announced body of a megabyte."""

    def ask() -> None:
        with Connection(gunicorn.port) as connection:
            connection.send(_form(path, b"", 1_000_000, *more))
            assert connection.read().status in {401, 404, 413}

    at_best(lambda: seconds(ask), 0.05)


def test_large_form_and_the_next_request(gunicorn: Gunicorn) -> None:
    """A one-megabyte form is refused, and the next request is answered correctly or not at all."""
    attack = _form(b"/create_token", b"hosts=" + b"a" * 999_994, 1_000_000)

    assert _not_refused(gunicorn, {"large form": attack}) == {}


def test_every_byte_in_a_password(gunicorn: Gunicorn, redis_server: RedisServer) -> None:
    """No byte value in a request target or a password opens an admin page or changes a token."""
    before = set(redis_server.client().keys("tokens:*"))
    lines = {
        f"{byte} in the {where}": request(corpus.PLAIN, b"Host: x", authorization, line=line)
        for byte in range(256)
        for where, authorization, line in (
            ("target", b"Authorization: Basic eDp5", b"GET /tokens/%bx HTTP/1.1" % bytes([byte])),
            (
                "password",
                b"Authorization: Basic eDp5" + bytes([byte]),
                b"POST /create_token?hosts=* HTTP/1.1",
            ),
        )
    }

    assert _not_refused(gunicorn, lines) == {}
    assert set(redis_server.client().keys("tokens:*")) == before
