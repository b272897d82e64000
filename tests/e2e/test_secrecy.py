"""A token's secret leaves the service in one response and is written nowhere."""

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
    """Return processes with full logging after every stage of a token's life."""
    with (
        RedisServer(aof=True, options=["--loglevel", "debug"]) as redis,
        Gunicorn(redis.port, log_level="debug", web_concurrency=1) as service,
        Traefik(service.port, echo.port, log_level="DEBUG") as traefik,
    ):
        tokens = [service.issue("a.test", comment="pepper_check"), service.issue("a.test")]
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
def test_no_file_contains_the_secret(stack: _Stack, name: str) -> None:
    """No log and no dump contains a token's secret or a large part of it."""
    written = _written(getattr(stack, name))

    assert len(written) > 500
    for token in stack.tokens:
        assert token[4:30].encode() not in written


def test_redis_contains_the_digest(stack: _Stack) -> None:
    """The searched Redis dump contains the token's digest, so the search looked in the right place."""
    assert record_key(stack.tokens[0]).encode() in _written(stack.redis)


def test_log_contains_no_secret(stack: _Stack) -> None:
    """The service's log contains no pepper, password or digest."""
    for secret in (PEPPER, ADMIN_PASS, record_key(stack.tokens[0])):
        assert secret not in stack.service.log


def test_command_line_contains_no_secret(stack: _Stack) -> None:
    """The command line of the service contains no secret."""
    assert PEPPER not in Path(f"/proc/{stack.service.pid}/cmdline").read_text()


def test_shown_once(stack: _Stack) -> None:
    """The pages show a token's secret only in the response that created it."""
    page = stack.service.page("/")
    assert page.status == 200
    assert "pepper_check" in page.text
    assert stack.tokens[0] not in page.text
    assert "set-cookie" not in page.headers


def test_metrics_contain_no_secret(stack: _Stack) -> None:
    """No metric has a token's secret as a label."""
    assert stack.tokens[0] not in stack.service.page("/metrics").text
