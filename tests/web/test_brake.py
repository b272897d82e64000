"""Which responses of /auth count toward FAIL_LIMIT_MAX."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest
from flask.testing import FlaskClient

from devkit.builders import PEPPER
from devkit.ports import free_port

ON = {"FAIL_LIMIT_MAX": "2", "TRUSTED_PROXIES": "172.18.0.0/16"}
TRAEFIK = {"REMOTE_ADDR": "172.18.0.2"}
KNOWN = "from-an-older-deployment"


def ask(client: FlaskClient, authorization: str | None, host: str = "a.test", **environ: str) -> int:
    """Request /auth for a client of Traefik; return the status."""
    headers = {"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Host": host}
    headers |= {} if authorization is None else {"Authorization": authorization}
    return client.get("/auth", headers=headers, environ_overrides=TRAEFIK | environ).status_code


def keep(database: Any, **fields: str) -> None:
    """Store the token KNOWN for a.test."""
    key = f"tokens:{sha256((KNOWN + PEPPER).encode()).hexdigest()}"
    database.hset(key, mapping={"hosts": "a.test"} | fields)


@pytest.mark.parametrize(
    ("authorization", "fields"),
    [
        ("Bearer not-ours", {}),
        ("Bearer acl_" + "a" * 38, {}),
        ("Bearer", {}),
        ("Bearer a,Bearer b", {}),
        (f"Bearer {KNOWN}", {"enabled": "0"}),
        (f"Bearer {KNOWN}", {"not_before": "99999999999"}),
    ],
)
def test_counted(
    make_client: Callable[..., FlaskClient], database: Any, authorization: str, fields: dict[str, str]
) -> None:
    """Every unusable credential is counted."""
    keep(database, **fields)
    client = make_client(**ON)

    assert [ask(client, authorization) for _ in range(4)] == [401, 401, 429, 429]


@pytest.mark.parametrize(
    ("authorization", "host", "status"),
    [(None, "a.test", 401), (f"Bearer {KNOWN}", "b.test", 403), (f"Bearer {KNOWN}", "a.test", 200)],
)
def test_not_counted(
    make_client: Callable[..., FlaskClient], database: Any, authorization: str | None, host: str, status: int
) -> None:
    """A missing credential, a wrong host and a valid token are not counted."""
    keep(database)
    client = make_client(**ON)

    assert [ask(client, authorization, host) for _ in range(4)] == [status] * 4
    assert not database.keys("{acl:failures}*")


def test_over_the_rate_limit_of_a_token(make_client: Callable[..., FlaskClient], database: Any) -> None:
    """A valid token over its own rate limit is not counted."""
    keep(database, rate_limit_max="1", rate_limit_window_sec="60")
    client = make_client(**ON)

    assert [ask(client, f"Bearer {KNOWN}") for _ in range(4)] == [200, 429, 429, 429]
    assert not database.keys("{acl:failures}*")


@pytest.mark.parametrize("variables", [{}, ON])
def test_untrusted_peer(
    make_client: Callable[..., FlaskClient], database: Any, variables: dict[str, str]
) -> None:
    """Without the setting, or past the trusted proxies, no client is counted and nothing is written."""
    client = make_client(**variables)

    assert [ask(client, "Bearer not-ours", REMOTE_ADDR="10.0.0.1") for _ in range(4)] == [401] * 4
    assert database.dbsize() == 0


def test_redis_down(make_client: Callable[..., FlaskClient]) -> None:
    """When Redis is down, even a malformed credential is a 503, because it can't be counted."""
    client = make_client(**ON, REDIS_PORT=free_port())

    assert [ask(client, "Bearer a,Bearer b"), ask(client, "Bearer not-ours")] == [503, 503]
