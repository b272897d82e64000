"""The app in this process, with a real Redis."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, cast

import pytest
import redis
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app import create_app
from app.assembly import build_services
from app.services import provide
from devkit.builders import ENVIRON, make_settings
from devkit.ports import free_port
from devkit.redis_server import RedisServer

Auth = tuple[str, str]
OPERATOR: Auth = (ENVIRON["ADMIN_USER"], ENVIRON["ADMIN_PASS"])


@pytest.fixture
def database(redis_server: RedisServer) -> Iterator[Any]:
    """Return a client of the app's Redis database, which is empty."""
    with redis.Redis(port=redis_server.port, protocol=2, decode_responses=True) as client:
        client.flushall()
        yield client


@pytest.fixture
def make_client(redis_server: RedisServer, database: Any) -> Iterator[Callable[..., FlaskClient]]:
    """Return a function that creates an app with the given settings and returns its client."""
    assert database.ping()
    usual = {"REDIS_PORT": redis_server.port, "REDIS_DEADLINE_MS": 5000}  # allows for a busy machine
    with ExitStack() as stack:
        yield lambda **variables: stack.enter_context(_app(usual | variables)).test_client()


_unused: defaultdict[str, list[Flask]] = defaultdict(list)


@contextmanager
def _app(variables: dict[str, Any]) -> Iterator[Flask]:
    """Lend an app that no test uses now, with new services; its routes and templates take long to compile."""
    settings, unused = make_settings(**variables), _unused[str(sorted(variables.items()))]
    app = unused.pop() if unused else create_app(settings)
    current = build_services(settings)
    provide(app, current)
    yield app
    for owner in (current.catalog._store, current.gate._ledger):  # before the garbage collector does
        cast(Any, owner)._client.connection_pool.disconnect()
    unused.append(app)


@pytest.fixture
def client(make_client: Callable[..., FlaskClient]) -> FlaskClient:
    """Return a client of an app with the default settings."""
    return make_client()


@pytest.fixture
def offline(make_client: Callable[..., FlaskClient]) -> FlaskClient:
    """Return a client of an app that can't reach Redis."""
    return make_client(REDIS_PORT=free_port())


def written(database: Any) -> list[str]:
    """Return all keys except those of the login history."""
    return [key for key in database.scan_iter() if not key.startswith("{acl:logins}")]


class Operator:
    """A client that sends the operator's password."""

    def __init__(self, client: FlaskClient) -> None:
        self._client = client

    def get(self, path: str = "/", **more: Any) -> TestResponse:
        """Request a page."""
        return self._client.get(path, auth=OPERATOR, **more)

    def post(self, path: str, data: Any = None, **more: Any) -> TestResponse:
        """Submit a form."""
        return self._client.post(path, data=data, auth=OPERATOR, **more)


@pytest.fixture
def operator(client: FlaskClient) -> Operator:
    """Return the operator's client for the app with the default settings."""
    return Operator(client)
