"""One pooled client, built so that nothing waits or tries again behind our back."""

from __future__ import annotations

from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.retry import Retry

from app.settings import Settings
from app.store.canary import Canary
from app.store.checkup import Checkup
from app.store.errors import bounded

POOL_SIZE = 32


def connect(settings: Settings) -> redis.Redis:
    """Return the client; it opens no connection before its first command.

    redis-py's own defaults try ten times, speak RESP3 and then skip the check that a pooled
    connection holds no unread answer; each is set here on purpose.
    """
    target = (
        parse_url(settings.redis_url)  # type: ignore[no-untyped-call]
        if settings.redis_url
        else _target(settings)
    )
    deadline_s = settings.redis_deadline_ms / 1000
    pool = redis.BlockingConnectionPool(  # type: ignore[no-untyped-call]
        **_tls(settings, target)
        | {
            "protocol": 2,
            "driver_info": None,
            "retry": Retry(NoBackoff(), 0),
            "retry_on_timeout": False,
            "health_check_interval": 0,
            "socket_timeout": deadline_s,
            "socket_connect_timeout": deadline_s,
            "socket_keepalive": True,
            "max_connections": POOL_SIZE,
            "timeout": deadline_s,
        }
    )
    return redis.Redis(connection_pool=pool)


def ping(client: redis.Redis, canary: Canary, checkup: Checkup, deadline_s: float) -> None:
    """Ask whether Redis answers and our pepper is the one; raises StoreUnavailableError."""
    with bounded(deadline_s):
        client.ping()
        canary.check()
        checkup.run()


def _target(settings: Settings) -> dict[str, Any]:
    target: dict[str, Any] = {
        "host": settings.redis_host,
        "port": settings.redis_port,
        "db": settings.redis_db,
        "username": settings.redis_username or None,
        "password": settings.redis_password or None,
    }
    return target | ({"connection_class": redis.SSLConnection} if settings.redis_tls else {})


def _tls(settings: Settings, target: dict[str, Any]) -> dict[str, Any]:
    if target.get("connection_class") is not redis.SSLConnection:
        return target
    if settings.redis_tls_skip_verify:
        return target | {"ssl_cert_reqs": "none", "ssl_check_hostname": False}
    return (
        target
        | {"ssl_cert_reqs": "required", "ssl_check_hostname": True}
        | ({"ssl_ca_certs": settings.redis_tls_ca_file} if settings.redis_tls_ca_file else {})
    )
