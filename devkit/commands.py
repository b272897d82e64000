"""The commands of an app, run in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import redis
from click.testing import Result
from flask import Flask

from app import create_app
from app.services import services_of
from devkit.builders import make_settings
from devkit.redis_server import RedisServer

Run = Callable[..., Result]


def app_on(server: RedisServer, **variables: Any) -> Flask:
    """Return an app with a deadline that a busy machine meets, which disconnects after each command."""
    app = create_app(make_settings(REDIS_PORT=server.port, REDIS_DEADLINE_MS=5000, **variables))
    services = services_of(app)
    clients: list[Any] = [services.logins, services.audit, services.registry._store]

    @app.teardown_appcontext
    def _disconnect(_: BaseException | None) -> None:
        for each in clients:
            each._client.connection_pool.disconnect()

    return app


def runner_on(server: RedisServer, **variables: Any) -> Run:
    """Return a function that runs a command of ``flask tokens`` on an empty database."""
    with redis.Redis(port=server.port) as client:
        client.flushall()
    runner = app_on(server, **variables).test_cli_runner()
    return lambda *args, **more: runner.invoke(args=["tokens", *args], **more)


def created(run: Run, *args: str) -> dict[str, Any]:
    """Create a token; return the JSON output."""
    printed: dict[str, Any] = json.loads(run("create", "--json", *args).stdout)
    return printed


def printed_lines(result: Result) -> list[dict[str, Any]]:
    """Return the objects that a command printed, one on each line."""
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]
