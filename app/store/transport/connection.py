"""Builds the Redis client and the pipeline from the settings (docs/decisions/0009 and 0018).

Every time-out and retry is set here on purpose, so that the only limit is the deadline of a decision.
"""

from __future__ import annotations

from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.redis_url import Address, Location, Login
from app.settings import Settings
from app.store.transport.cluster import Client, Cluster
from app.store.transport.cluster_pipeline import ClusterPipeline
from app.store.transport.pipeline import Pipeline
from app.store.transport.pipelined import Observe, ignore
from app.store.transport.sentinel import PrimaryConnection, PrimarySSLConnection, Sentinels
from app.store.transport.shared_connect import connect_step_s, with_shared_connect
from app.store.transport.slots import Slots

POOL_SIZE = 32


def connect(settings: Settings, *, concurrent: bool) -> Client:
    """Return the client; it opens no connection before its first command.

    If *concurrent*, which takes a gevent worker with patched sockets, connections are set up in greenlets.
    """
    location = settings.redis
    if location.is_cluster:
        return _cluster(settings, location, concurrent=concurrent)
    target = (
        _sentinel_target(settings, location, concurrent=concurrent)
        if location.service
        else _server_target(settings, location)
    )
    return _pooled(settings, target | {"db": location.db}, concurrent=concurrent)


def open_pipeline(client: Client, drain_s: float, observe: Observe = ignore) -> Pipeline | ClusterPipeline:
    """Return a pipeline to the servers of *client*, for a gevent worker with patched sockets."""
    if isinstance(client, Cluster):
        return ClusterPipeline(client, lambda address: _pipeline(client.at(address), drain_s, observe))
    return _pipeline(client, drain_s, observe)


def _pipeline(client: redis.Redis, drain_s: float, observe: Observe) -> Pipeline:
    pool: Any = client.connection_pool
    return Pipeline(lambda: pool.connection_class(**pool.connection_kwargs), drain_s, observe)


def _pooled(settings: Settings, target: dict[str, Any], *, concurrent: bool) -> redis.Redis:
    deadline_s = settings.redis_deadline_ms / 1000
    base = target.get("connection_class", redis.Connection)
    connection_class = with_shared_connect(base, concurrent=concurrent)
    options = target | _options(deadline_s) | {"connection_class": connection_class}
    pool = redis.BlockingConnectionPool(  # type: ignore[no-untyped-call]
        **options, max_connections=POOL_SIZE, timeout=deadline_s
    )
    return redis.Redis(connection_pool=pool)


def _options(timeout_s: float) -> dict[str, Any]:
    """Return the options of every connection.

    redis-py's defaults retry ten times, and negotiate RESP3, with which the pool does not check a connection
    for unread replies.
    """
    return {
        "protocol": 2,
        "driver_info": None,
        "retry": Retry(NoBackoff(), 0),
        "retry_on_timeout": False,
        "health_check_interval": 0,
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
    }


def _server_target(settings: Settings, location: Location) -> dict[str, Any]:
    if location.socket:
        credentials = _credentials(location.login)
        return {"path": location.socket, "connection_class": redis.UnixDomainSocketConnection, **credentials}
    return _tls(settings, _target(location.addresses[0], location.login, tls=location.tls))


def _cluster(settings: Settings, location: Location, *, concurrent: bool) -> Cluster:
    def target(address: Address) -> dict[str, Any]:
        return _tls(settings, _target(address, location.login, tls=location.tls))

    return Cluster(
        Slots(
            location.addresses,
            lambda address: _unpooled(settings, target(address)),
            concurrent=concurrent,
        ),
        lambda address: _pooled(settings, target(address), concurrent=concurrent),
    )


def _unpooled(settings: Settings, target: dict[str, Any]) -> Any:
    """Return a connection for a single query."""
    connection_class = target.pop("connection_class")
    return connection_class(**target | _options(connect_step_s(settings.redis_deadline_ms / 1000)))


def _sentinel_target(settings: Settings, location: Location, *, concurrent: bool) -> dict[str, Any]:
    def make_connection(address: Address) -> Any:
        return _unpooled(
            settings, _tls(settings, _target(address, location.sentinel_login, tls=location.tls))
        )

    return _tls(settings, _target(Address("", 0), location.login, tls=location.tls)) | {
        "connection_class": PrimarySSLConnection if location.tls else PrimaryConnection,
        "sentinels": Sentinels(location.addresses, location.service, make_connection, concurrent=concurrent),
    }


def _target(address: Address, login: Login, *, tls: bool) -> dict[str, Any]:
    return {
        "host": address.host,
        "port": address.port,
        **_credentials(login),
        "connection_class": redis.SSLConnection if tls else redis.Connection,
        "socket_keepalive": True,
    }


def _credentials(login: Login) -> dict[str, str | None]:
    return {"username": login.username or None, "password": login.password or None}


class SSLConnection(redis.SSLConnection):
    """A TLS connection that reads one reply before it enters the pool.

    A TLS 1.3 server sends session tickets after the handshake (RFC 8446 section 4.6.1). As long as they are
    unread, redis-py takes them for an unread reply and discards the connection.
    """

    def on_connect_check_health(self, *args: Any, **options: Any) -> None:
        """Authenticate, and read a reply even if no command was necessary."""
        super().on_connect_check_health(*args, **options)
        self.send_command("PING")  # type: ignore[no-untyped-call]
        self.read_response()


def _tls(settings: Settings, target: dict[str, Any]) -> dict[str, Any]:
    if target.get("connection_class") is not redis.SSLConnection:
        return target
    target = target | {"connection_class": SSLConnection}
    if settings.redis_tls_cert_file:
        target |= {"ssl_certfile": settings.redis_tls_cert_file, "ssl_keyfile": settings.redis_tls_key_file}
    if settings.redis_tls_skip_verify:
        return target | {"ssl_cert_reqs": "none", "ssl_check_hostname": False}
    return (
        target
        | {"ssl_cert_reqs": "required", "ssl_check_hostname": True}
        | ({"ssl_ca_certs": settings.redis_tls_ca_file} if settings.redis_tls_ca_file else {})
    )
