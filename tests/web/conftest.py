"""The app in this process, on a real Redis."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app import create_app
from devkit.builders import ENVIRON, make_settings
from devkit.ports import free_port
from devkit.redis_server import RedisServer

Auth = tuple[str, str]
OPERATOR: Auth = (ENVIRON["ADMIN_USER"], ENVIRON["ADMIN_PASS"])


@pytest.fixture
def database(redis_server: RedisServer) -> Iterator[Any]:
    """Return a client of the empty database that the app uses."""
    with redis.Redis(port=redis_server.port, protocol=2, decode_responses=True) as client:
        client.flushall()
        yield client


@pytest.fixture
def make_client(redis_server: RedisServer, database: Any) -> Callable[..., FlaskClient]:
    """Return what makes a client of an app with the settings given."""
    assert database.ping()
    usual = {"REDIS_PORT": redis_server.port, "REDIS_DEADLINE_MS": 5000}  # a busy machine is no fault
    return lambda **variables: create_app(make_settings(**usual | variables)).test_client()


@pytest.fixture
def client(make_client: Callable[..., FlaskClient]) -> FlaskClient:
    """Return a client of an app with the default settings."""
    return make_client()


@pytest.fixture
def stranded(make_client: Callable[..., FlaskClient]) -> FlaskClient:
    """Return a client of an app whose Redis is not there."""
    return make_client(REDIS_PORT=free_port())


def written(database: Any) -> list[str]:
    """Return all keys but those that tell who signed in."""
    return [key for key in database.scan_iter() if not key.startswith("{acl:logins}")]


class Operator:
    """The admin pages with the password."""

    def __init__(self, client: FlaskClient) -> None:
        self._client = client

    def get(self, path: str = "/", **more: Any) -> TestResponse:
        """Open a page."""
        return self._client.get(path, auth=OPERATOR, **more)

    def post(self, path: str, data: Any = None, **more: Any) -> TestResponse:
        """Send a form."""
        return self._client.post(path, data=data, auth=OPERATOR, **more)


@pytest.fixture
def operator(client: FlaskClient) -> Operator:
    """Return the operator of the app with the default settings."""
    return Operator(client)
