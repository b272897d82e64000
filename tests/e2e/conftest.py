"""Shared processes for the end-to-end tests that leave them intact."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from typing import Any

import pytest

from app.store import keys
from devkit.backend import Backend
from devkit.ports import free_port
from devkit.redis_server import RedisServer
from devkit.service import Gunicorn
from devkit.traefik import EntryPoint, Traefik


@pytest.fixture(scope="session", name="many_files")
def _many_files() -> Iterator[None]:
    """Raise the limit of open files to the maximum for this process and its children."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture(scope="session", name="redis_server")
def _redis_server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="session", name="redis")
def _redis(redis_server: RedisServer) -> Any:
    return redis_server.client()


@pytest.fixture(scope="session", name="service")
def _service(redis_server: RedisServer) -> Iterator[Gunicorn]:
    # Only test_outage measures time; elsewhere the deadline allows for a busy machine.
    with Gunicorn(redis_server.port, web_concurrency=2, redis_deadline_ms=5000) as service:
        yield service


@pytest.fixture(autouse=True)
def _forget_wrong_logins(redis: Any) -> None:
    """Delete the counters of wrong passwords that other tests left behind."""
    redis.delete(keys.WRONG_LOGINS)


@pytest.fixture(name="token")
def _token(service: Gunicorn) -> str:
    """Issue a token for a.test."""
    return service.issue("a.test")


@pytest.fixture(scope="session", name="echo")
def _echo() -> Iterator[Backend]:
    with Backend() as backend:
        yield backend


@pytest.fixture(name="backend")
def _backend(echo: Backend) -> Backend:
    """Return the backend with no requests recorded."""
    echo.seen.clear()
    return echo


@pytest.fixture(scope="session", name="traefik")
def _traefik(service: Gunicorn, echo: Backend) -> Iterator[Traefik]:
    elsewhere = ("healthz", "livez", "metrics", "static/app.css", "api/v1/tokens", "auth/", "")
    entry_points = {
        "web": EntryPoint(),
        "insecure": EntryPoint(insecure=True),
        "all-headers": EntryPoint(options={"authRequestHeaders": []}),
        "same-method": EntryPoint(options={"preserveRequestMethod": True}),
        "with-body": EntryPoint(options={"forwardBody": True, "maxBodySize": 65536}),
        "nobody-home": EntryPoint(f"http://127.0.0.1:{free_port()}/auth"),
    }
    entry_points |= {f"/{path}": EntryPoint(f"http://127.0.0.1:{service.port}/{path}") for path in elsewhere}
    with Traefik(service.port, echo.port, entry_points) as traefik:
        yield traefik
