"""One pooled client, built so that nothing waits or tries again behind our back."""

from __future__ import annotations

from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.redis_url import Address, Location, Login
from app.settings import Settings
from app.store.transport.cluster import Client, Cluster
from app.store.transport.cluster_pipeline import ClusterLine
from app.store.transport.pipeline import Pipeline
from app.store.transport.sentinel import PrimaryConnection, PrimarySSLConnection, Sentinels
from app.store.transport.shared_connect import lasting, step_s
from app.store.transport.slots import Slots

POOL_SIZE = 32


def connect(settings: Settings) -> Client:
    """Return the client; it opens no connection before its first command."""
    place = settings.redis
    if place.is_cluster:
        return _cluster(settings, place)
    target = _of_sentinels(settings, place) if place.service else _of_one(settings, place)
    return _pooled(settings, target | {"db": place.db})


def open_line(client: Client, drain_s: float) -> Pipeline | ClusterLine:
    """Return a pipeline to where *client* leads."""
    if isinstance(client, Cluster):
        return ClusterLine(client, lambda address: _line(client.at(address), drain_s))
    return _line(client, drain_s)


def _line(client: redis.Redis, drain_s: float) -> Pipeline:
    pool: Any = client.connection_pool
    return Pipeline(lambda: pool.connection_class(**pool.connection_kwargs), drain_s)


def _pooled(settings: Settings, target: dict[str, Any]) -> redis.Redis:
    deadline_s = settings.redis_deadline_ms / 1000
    kind = lasting(target.get("connection_class", redis.Connection))
    options = target | _options(deadline_s) | {"connection_class": kind}
    pool = redis.BlockingConnectionPool(  # type: ignore[no-untyped-call]
        **options, max_connections=POOL_SIZE, timeout=deadline_s
    )
    return redis.Redis(connection_pool=pool)


def _options(timeout_s: float) -> dict[str, Any]:
    """Return how every connection behaves.

    redis-py's own defaults try ten times, speak RESP3 and then skip the check that a pooled
    connection holds no unread answer; each is set here on purpose.
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


def _of_one(settings: Settings, place: Location) -> dict[str, Any]:
    if place.socket:
        login = _signed_in(place.login)
        return {"path": place.socket, "connection_class": redis.UnixDomainSocketConnection, **login}
    return _tls(settings, _target(place.addresses[0], place.login, tls=place.tls))


def _cluster(settings: Settings, place: Location) -> Cluster:
    def target(address: Address) -> dict[str, Any]:
        return _tls(settings, _target(address, place.login, tls=place.tls))

    return Cluster(
        Slots(place.addresses, lambda address: _brief(settings, target(address))),
        lambda address: _pooled(settings, target(address)),
    )


def _brief(settings: Settings, target: dict[str, Any]) -> Any:
    """Return a connection for one question."""
    connection_class = target.pop("connection_class")
    return connection_class(**target | _options(step_s(settings.redis_deadline_ms / 1000)))


def _of_sentinels(settings: Settings, place: Location) -> dict[str, Any]:
    def make(address: Address) -> Any:
        return _brief(settings, _tls(settings, _target(address, place.sentinel_login, tls=place.tls)))

    return _tls(settings, _target(Address("", 0), place.login, tls=place.tls)) | {
        "connection_class": PrimarySSLConnection if place.tls else PrimaryConnection,
        "sentinels": Sentinels(place.addresses, place.service, make),
    }


def _target(address: Address, login: Login, *, tls: bool) -> dict[str, Any]:
    return {
        "host": address.host,
        "port": address.port,
        **_signed_in(login),
        "connection_class": redis.SSLConnection if tls else redis.Connection,
        "socket_keepalive": True,
    }


def _signed_in(login: Login) -> dict[str, str | None]:
    return {"username": login.username or None, "password": login.password or None}


class SSLConnection(redis.SSLConnection):
    """A connection on which one answer was read.

    TLS 1.3 sends tickets after the handshake (RFC 8446 section 4.6.1); while they are unread, redis-py takes
    them for an answer that somebody left, and never uses the connection.
    """

    def on_connect_check_health(self, *args: Any, **options: Any) -> None:
        """Sign in, and read an answer even if nothing had to be said."""
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
