"""What a flood leaves in the log of a real server."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from app.core.verdicts import Verdict
from app.repeats import PERIOD_S
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
    """Return what runs one worker that logs JSON and believes our word for the address of a client."""
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
    """Return what *logger* wrote."""
    whole = service.log[: service.log.rfind("\n") + 1]
    return [line for line in map(json.loads, whole.splitlines()) if line["logger"] == logger]


def logged(service: Gunicorn, logger: str = "app.web.auth") -> int:
    """Return how many events the lines of *logger* stand for."""
    return sum(line.get("count", 1) for line in lines(service, logger))


def flood(service: Gunicorn, number: int) -> None:
    """Send made-up tokens for made-up hosts and addresses, by both lanes."""
    with Connection(service.port) as connection:
        for at in range(number):
            sent = [*forwarded(f"{at}.test"), *bearer(f"x{at}"), ("X-Forwarded-For", f"2001:db8:{at:x}::1")]
            method = "POST" if at % 10 == 0 else "GET"
            assert connection.call("/auth", sent, method).status == 401


def test_one_refusal(serve: Serve) -> None:
    """One refusal is logged at once and in full, by whichever lane, in fields of their own."""
    service = serve()
    token = service.issue("a.test")
    for method in ("GET", "POST"):
        with Connection(service.port) as connection:
            sent = [*forwarded("b.test"), *bearer(token), ("X-Forwarded-For", "203.0.113.9")]
            assert connection.call("/auth", sent, method).status == 403

    for line in lines(service):
        token_id = line["token"]
        assert (line["verdict"], line["host"], line["client"]) == ("wrong_host", "b.test", "203.0.113.9")
        assert (
            line["message"] == f"refused verdict=wrong_host token={token_id} host='b.test' client=203.0.113.9"
        )
    assert len(lines(service)) == 2


def test_client_that_is_not_believed(serve: Serve) -> None:
    """Past a proxy that is named, the address is the peer's, whatever it claims."""
    service = serve(trusted_proxies="10.0.0.1", log_format="text")
    service.auth("x", headers=[("X-Forwarded-For", "203.0.113.9")])

    assert "refused verdict=unknown_token token=- host='a.test' client=127.0.0.1\n" in service.log


def test_flood(serve: Serve) -> None:
    """A flood from everywhere leaves few lines that account for all of it, the last of them unasked."""
    service = serve()
    flood(service, 3_000)
    until(lambda: logged(service) == 3_000, deadline_s=3 * PERIOD_S)

    written = lines(service)
    assert len(written) < 1_000
    assert {line["verdict"] for line in written} == {Verdict.UNKNOWN_TOKEN}
    assert max(line.get("clients", 1) for line in written) > 100


def test_refusal_amid_a_flood(serve: Serve) -> None:
    """While one client floods, another one's refusal is logged in full."""
    service = serve()
    with Connection(service.port) as connection:
        for at in range(200):
            connection.call(
                "/auth", [*forwarded(f"{at}.test"), *bearer("x"), ("X-Forwarded-For", "10.9.9.9")]
            )
    service.auth("x", "a.test", [("X-Forwarded-For", "203.0.113.9")])

    assert ("a.test", "203.0.113.9") in {(line["host"], line["client"]) for line in lines(service)}


def test_stop_amid_a_flood(serve: Serve) -> None:
    """A worker that is stopped writes what it held."""
    service = serve()
    flood(service, 500)
    service.stop()

    assert logged(service) == 500


def test_wrong_passwords(serve: Serve) -> None:
    """Guesses are summed up as well, each kind of answer for itself, and no word of them is logged."""
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
    """Each 503 has its reason in the log, with the words of its body, and a flood of them few lines."""
    service = serve(redis_port=free_port())
    with Connection(service.port) as connection:
        answers = [connection.call(target, [*bearer("x")] if target == "/auth" else []) for _ in range(100)]
    service.stop()

    assert {(answer.status, answer.text) for answer in answers} == {(503, "redis unavailable")}
    assert logged(service) == 100
    assert all("redis unavailable: Redis " in line["message"] for line in lines(service))
    assert len(lines(service)) < 80


def test_foreign_text(serve: Serve) -> None:
    """No request puts a control character, or a line of its own, into the log."""
    service = serve(log_format="text")
    hosts = ["\x1b[2Ja", "\x9b31m", "\u202e".encode().decode("latin-1"), "a\tb", "\xff" * 300, "last.test"]
    for number, host in enumerate(hosts):
        service.auth("x", host, [("X-Forwarded-For", f"203.0.113.{number}")])

    assert "last.test" in service.log
    assert all(line.isprintable() for line in service.log.splitlines())
    assert all(len(line) < 1_000 for line in service.log.splitlines())
