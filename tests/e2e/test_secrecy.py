"""The text of a token leaves in one answer and is written down nowhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from devkit.backend import Backend
from devkit.process import Process
from devkit.redis_server import RedisServer
from devkit.service import ADMIN_PASS, PEPPER, Gunicorn, record_key
from devkit.traefik import Traefik

pytestmark = pytest.mark.e2e


class _Stack(NamedTuple):
    redis: RedisServer
    service: Gunicorn
    traefik: Traefik
    tokens: list[str]


@pytest.fixture(scope="module", name="stack")
def _stack(echo: Backend) -> Iterator[_Stack]:
    """Return processes that log all they can, after a token's whole life."""
    with (
        RedisServer(aof=True, options=["--loglevel", "debug"]) as redis,
        Gunicorn(redis.port, log_level="debug", web_concurrency=1) as service,
        Traefik(service.port, echo.port, log_level="DEBUG") as traefik,
    ):
        tokens = [service.issue("a.test", comment="canary"), service.issue("a.test")]
        for token in tokens:
            statuses = [traefik.call(token, host).status for host in ("a.test", "b.test")]
            statuses += [service.auth(f"{token[:-1]}~").status, service.auth(f"{token} {token}").status]
            assert statuses == [200, 403, 401, 401]
        service.page("/")
        service.post("/delete_token", token=tokens[1])
        redis.client().set("tokens-wrong-type", "x")
        redis.client().save()
        redis.pause()
        service.auth(tokens[0])
        redis.resume()
        yield _Stack(redis, service, traefik, tokens)


def _written(process: Process) -> bytes:
    return b"\n".join(path.read_bytes() for path in process.dir.rglob("*") if path.is_file())


@pytest.mark.parametrize("name", ["redis", "service", "traefik"])
def test_no_file_holds_it(stack: _Stack, name: str) -> None:
    """No log and no dump holds a token, nor any secret half of it."""
    written = _written(getattr(stack, name))

    assert len(written) > 500
    for token in stack.tokens:
        assert token[4:30].encode() not in written


def test_redis_holds_the_digest(stack: _Stack) -> None:
    """The dump that was searched is the one that knows the token."""
    assert record_key(stack.tokens[0]).encode() in _written(stack.redis)


def test_logs_hold_no_secret(stack: _Stack) -> None:
    """The service's log names neither the pepper nor the password, nor any digest."""
    for secret in (PEPPER, ADMIN_PASS, record_key(stack.tokens[0])):
        assert secret not in stack.service.log


def test_command_line_holds_no_secret(stack: _Stack) -> None:
    """Whoever lists the processes learns no secret."""
    assert PEPPER not in Path(f"/proc/{stack.service.pid}/cmdline").read_text()


def test_shown_once(stack: _Stack) -> None:
    """The pages show a token's text in the answer that made it, and never again."""
    page = stack.service.page("/")
    assert page.status == 200
    assert "canary" in page.text
    assert stack.tokens[0] not in page.text
    assert "set-cookie" not in page.headers


def test_used_in_no_metric(stack: _Stack) -> None:
    """No metric is labelled with it."""
    assert stack.tokens[0] not in stack.service.page("/metrics").text
