"""The ACL of the shipped Redis gives the service every right that it needs and no other."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml  # type: ignore[import-untyped]

from devkit.http import call
from devkit.process import OUTSIDE, ROOT
from devkit.redis_server import RedisServer, shipped_redis, valkey_binary
from devkit.service import ADMIN_PASS, ADMIN_USER, PEPPER, Gunicorn
from devkit.waiting import until

pytestmark = pytest.mark.e2e

OBSERVER = ["--user", "observer", "on", "nopass", "~*", "&*", "+@all"]


@pytest.fixture(scope="module", name="shipped")
def _shipped() -> Iterator[RedisServer]:
    """Run Redis as docker-compose.yml does, with an additional user who may run every command."""
    with RedisServer(options=[*shipped_redis(), *OBSERVER], binary=valkey_binary()) as server:
        yield server


@pytest.fixture(name="observer")
def _observer(shipped: RedisServer) -> Iterator[Any]:
    with redis.Redis(port=shipped.port, username="observer", password="x", decode_responses=True) as client:
        client.flushall()
        client.execute_command("ACL LOG RESET")
        yield client


def everything(service: Gunicorn) -> set[int]:
    """Use every feature of pages and API, and return the statuses of all answers."""
    token, limited = (
        service.issue("a.test", ttl_seconds="3600"),
        service.issue("*.b.test", rate_limit_max="1"),
    )
    uses = [
        service.auth(secret, host)
        for secret in (token, limited, "unknown")
        for host in ("a.test", "x.b.test") * 2
    ]
    name = service.auth(token).headers["x-auth-token-id"]
    posts = [
        service.post(f"/{verb}_token", token=name, **more)
        for verb, more in [
            ("edit", {"comment": "c", "ttl_seconds": "0"}),
            ("disable", {}),
            ("enable", {}),
            ("rotate", {"grace_seconds": "60"}),
            ("delete", {}),
        ]
    ]
    pages = [
        service.page(f"/{page}")
        for page in (
            "",
            "?q=a.test",
            "?q=a@",
            "api/v1/tokens",
            "metrics",
            "healthz",
            "api/v1/tokens?sort=expires_at",
        )
    ]
    wrong = call(service.port, "/", [("Authorization", "Basic eDp5")])
    return {answer.status for answer in (*uses, *posts, *pages, wrong)}


def test_service_is_not_denied_anything(shipped: RedisServer, observer: Any, tmp_path: Path) -> None:
    """No command of the service is denied, from its first start to the move to a new pepper."""
    limits = {"fail_limit_max": 1000, "trusted_proxies": "127.0.0.1", "redis_deadline_ms": 5000}
    file = tmp_path / "tokens.toml"
    file.write_text(f'[tokens.ci]\nhosts = ["a.test"]\nsha256 = "{"ab" * 32}"\n')
    with Gunicorn(shipped.port, **limits, tokens_file=file) as service:
        until(lambda: "TOKENS_FILE was applied: 1 created" in service.log)
        assert everything(service) == {200, 303, 401, 403, 429}
        token = service.issue("a.test")
    with Gunicorn(shipped.port, **limits, pepper="new", pepper_previous=PEPPER) as service:
        assert service.auth(token).status == 200
        assert everything(service) == {200, 303, 401, 403, 429}

    assert observer.execute_command("ACL LOG") == []


def test_cli_is_not_denied_anything(shipped: RedisServer, observer: Any) -> None:
    """No command of the flask CLI is denied."""
    environ = {"PEPPER": PEPPER, "ADMIN_USER": ADMIN_USER, "ADMIN_PASS": ADMIN_PASS, "PYTHONPATH": str(ROOT)}
    for command in ("tokens create a.test --json", "tokens list", "tokens old-peppers", "logins reset"):
        argv = [sys.executable, "-m", "flask", "--app", "wsgi", *command.split()]
        env = environ | {"REDIS_PORT": str(shipped.port)}
        done = subprocess.run(argv, cwd=OUTSIDE, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    assert observer.execute_command("ACL LOG") == []


DENIED = [
    *("MONITOR", "SLOWLOG GET", "CONFIG GET dir", "CONFIG SET dir /tmp", "FLUSHALL", "FLUSHDB", "KEYS *"),
    *(
        "SHUTDOWN",
        "CLIENT LIST",
        "CLIENT KILL TYPE normal",
        "REPLICAOF NO ONE",
        "MODULE LIST",
    ),
    *("ACL LIST", "ACL SETUSER x", "SUBSCRIBE x", "GET other", "SET other 1", "MIGRATE h 1 k 0 1", "SAVE"),
]


@pytest.mark.parametrize("command", DENIED)
def test_other_commands_are_denied(shipped: RedisServer, command: str) -> None:
    """Commands that spy on clients, change the server or touch foreign keys are denied."""
    with (
        redis.Redis(port=shipped.port, protocol=2) as client,
        pytest.raises(redis.exceptions.NoPermissionError),
    ):
        client.execute_command(*command.split())


def test_acl_is_the_same_everywhere() -> None:
    """Kubernetes uses the same ACL, and docs/redis.md documents it."""
    command = shipped_redis()
    rules = " ".join(command[command.index("resetchannels") : command.index("+time") + 1])
    manifest = list(yaml.safe_load_all((ROOT / "k8s/redis.yaml").read_text("utf-8")))

    assert rules in json.dumps(manifest)
    assert rules in (ROOT / "docs/redis.md").read_text("utf-8")
