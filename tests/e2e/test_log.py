"""What a real server logs during a flood of requests."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import pytest

from app.core.verdicts import Verdict
from app.repeats import PERIOD_S
from app.version import VERSION
from devkit.http import Connection, bearer, forwarded
from devkit.ports import free_port
from devkit.redis_server import RedisServer
from devkit.service import Gunicorn
from devkit.waiting import until
from tests.e2e.test_guessing import basic

pytestmark = pytest.mark.e2e

Lines = list[dict[str, Any]]
Serve = Callable[..., Gunicorn]


@pytest.fixture(name="serve")
def _serve(redis_server: RedisServer) -> Iterator[Serve]:
    """Return a function that runs one worker with JSON logs that trusts X-Forwarded-For."""
    running: list[Gunicorn] = []

    def serve(**settings: object) -> Gunicorn:
        options = {"web_concurrency": 1, "log_format": "json", "trusted_proxies": "private"}
        slow = {"redis_port": redis_server.port, "redis_deadline_ms": 5000}
        running.append(Gunicorn(**slow | options | settings).__enter__())
        return running[-1]

    yield serve
    for service in running:
        service.__exit__()


def lines(service: Gunicorn, logger: str = "app.web.auth") -> Lines:
    """Return the complete log lines of *logger*."""
    complete = service.log[: service.log.rfind("\n") + 1]
    return [line for line in map(json.loads, complete.splitlines()) if line["logger"] == logger]


def logged(service: Gunicorn, logger: str = "app.web.auth") -> int:
    """Return how many events the lines of *logger* account for."""
    return sum(line.get("count", 1) for line in lines(service, logger))


def flood(service: Gunicorn, number: int) -> None:
    """Send requests with random tokens, hosts and addresses through both lanes."""
    with Connection(service.port) as connection:
        for at in range(number):
            headers = [
                *forwarded(f"{at}.test"),
                *bearer(f"x{at}"),
                ("X-Forwarded-For", f"2001:db8:{at:x}::1"),
            ]
            method = "POST" if at % 10 == 0 else "GET"
            assert connection.call("/auth", headers, method).status == 401


def requested(host: str, *headers: tuple[str, str]) -> list[tuple[str, str]]:
    """Return the headers of a proxy that numbers its requests."""
    return [
        ("X-Forwarded-Host", host),
        ("X-Forwarded-Method", "PUT"),
        ("X-Forwarded-Uri", "/v1/models?key=a-secret"),
        *(headers or [("X-Request-Id", "an-id")]),
    ]


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_first_line(serve: Serve, log_format: str) -> None:
    """The log begins with the version, in the form that was asked for."""
    first = serve(log_format=log_format).log.splitlines()[0]
    if log_format == "json":
        line = json.loads(first)
        first = f"{line['level'].upper()} {line['logger']}: {line['message']}"

    assert first.endswith(f"INFO app: acl-auth-service {VERSION}")


def test_one_refusal(serve: Serve) -> None:
    """A single refusal is logged at once with all its fields, by either lane."""
    service = serve()
    token = service.issue("a.test")
    for method in ("GET", "POST"):
        with Connection(service.port) as connection:
            headers = [*requested("b.test"), *bearer(token), ("X-Forwarded-For", "203.0.113.9")]
            assert connection.call("/auth", headers, method).status == 403

    for line in lines(service):
        token_id = line["token"]
        assert (line["verdict"], line["host"], line["client"]) == ("wrong_host", "b.test", "203.0.113.9")
        assert (line["method"], line["path"], line["request_id"]) == ("PUT", "/v1/models", "an-id")
        assert (
            line["message"] == f"refused verdict=wrong_host token={token_id} host='b.test' client=203.0.113.9"
        )
    assert len(lines(service)) == 2


def test_allowed(serve: Serve) -> None:
    """At level debug every allowed request has a line, by either lane; at level info there is none."""
    loud, quiet = serve(log_level="debug"), serve()
    token = loud.issue("a.test")
    for service, method in product((loud, quiet), ("GET", "POST")):
        with Connection(service.port) as connection:
            assert connection.call("/auth", [*requested("a.test"), *bearer(token)], method).status == 200

    first, second = lines(loud)
    assert first | {"time": ""} == second | {"time": ""}
    assert (first["level"], first["verdict"], first["host"], first["client"]) == (
        *("debug", "allowed", "a.test", "127.0.0.1"),
    )
    assert (first["method"], first["path"], first["request_id"]) == ("PUT", "/v1/models", "an-id")
    assert lines(quiet) == []
    assert "a-secret" not in loud.log


def test_request_ids(serve: Serve) -> None:
    """An id is logged in printable characters, at most 80; a request without an id has no such member."""
    service = serve()
    ids = ["\x9b31m" + "y" * 9_000, "b"]
    with Connection(service.port) as connection:
        for number, sent in enumerate(ids):
            connection.call("/auth", [*requested(f"{number}.test", ("X-Request-Id", sent)), *bearer("x")])
        twice = [("X-Request-Id", "first"), ("x-request-id", "second")]
        connection.call("/auth", [*requested("2.test", *twice), *bearer("x")])
        connection.call("/auth", [*forwarded("3.test"), *bearer("x"), ("X-Forwarded-For", "10.9.9.9")])

    found = [line.get("request_id") for line in lines(service)]
    assert found == [r"\x9b31m" + "y" * 76, "b", "first,second", None]


def test_untrusted_forwarded_address(serve: Serve) -> None:
    """X-Forwarded-For from an untrusted peer is ignored, and the peer's address is logged."""
    service = serve(trusted_proxies="10.0.0.1", log_format="text")
    service.auth("x", headers=[("X-Forwarded-For", "203.0.113.9")])

    assert "refused verdict=unknown_token token=- host='a.test' client=127.0.0.1\n" in service.log


def test_flood(serve: Serve) -> None:
    """A distributed flood is summarized in few lines that account for every refusal."""
    service = serve()
    flood(service, 3_000)
    until(lambda: logged(service) == 3_000, deadline_s=3 * PERIOD_S)

    written = lines(service)
    assert len(written) < 1_000
    assert {line["verdict"] for line in written} == {Verdict.UNKNOWN_TOKEN}
    assert max(line.get("clients", 1) for line in written) > 100


def test_refusal_amid_a_flood(serve: Serve) -> None:
    """While one client floods, a refusal of another client is logged in full."""
    service = serve()
    with Connection(service.port) as connection:
        for at in range(200):
            connection.call(
                "/auth", [*forwarded(f"{at}.test"), *bearer("x"), ("X-Forwarded-For", "10.9.9.9")]
            )
    service.auth("x", "a.test", [("X-Forwarded-For", "203.0.113.9")])

    assert ("a.test", "203.0.113.9") in {(line["host"], line["client"]) for line in lines(service)}


def test_stop_amid_a_flood(serve: Serve) -> None:
    """A worker that is stopped writes its pending log summaries."""
    service = serve()
    flood(service, 500)
    service.stop()

    assert logged(service) == 500


def test_wrong_passwords(serve: Serve) -> None:
    """Password guesses are summarized too, and no guessed password is logged."""
    service = serve()
    with Connection(service.port) as connection:
        for _ in range(200):
            connection.call("/", [basic("a-guess"), ("X-Forwarded-For", "203.0.113.9")])
    service.stop()

    written = lines(service, "app.web.basic_auth")
    assert logged(service, "app.web.basic_auth") == 200
    assert len(written) < 100
    assert {line["client"] for line in written} == {"203.0.113.9"}
    assert "a-guess" not in service.log


@pytest.mark.parametrize("target", ["/auth", "/healthz"])
def test_outage(serve: Serve, target: str) -> None:
    """Every 503 is logged with its reason, and a flood of them is summarized."""
    service = serve(redis_port=free_port())
    with Connection(service.port) as connection:
        answers = [connection.call(target, [*bearer("x")] if target == "/auth" else []) for _ in range(100)]
    service.stop()

    assert {(answer.status, answer.text) for answer in answers} == {(503, "redis unavailable")}
    assert logged(service) == 100
    assert all("redis unavailable: Redis " in line["message"] for line in lines(service))
    assert len(lines(service)) < 80


def test_foreign_text(serve: Serve) -> None:
    """Client text cannot put control characters or line breaks into the log."""
    service = serve(log_format="text")
    hosts = ["\x1b[2Ja", "\x9b31m", "\u202e".encode().decode("latin-1"), "a\tb", "\xff" * 300, "last.test"]
    for number, host in enumerate(hosts):
        service.auth("x", host, [("X-Forwarded-For", f"203.0.113.{number}")])

    assert "last.test" in service.log
    assert all(line.isprintable() for line in service.log.splitlines())
    assert all(len(line) < 1_000 for line in service.log.splitlines())
