"""Parse REDIS_URL: one server, a Unix socket, Sentinels or a Cluster.

No part of a URL is ignored: it is either used as it is meant or refused. The error never quotes the URL,
since what looks like a port or an option may be half of a password.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from typing import NamedTuple
from urllib.parse import unquote

_MAX_PORT, _MAX_DB = 65535, 2**31 - 1
_MAX_PATH_BYTES = 107  # sun_path holds 108 bytes with the terminating zero (unix(7))
_ENCODE = "in names and passwords, characters like / ? # @ % need %-encoding"
_HOST = re.compile(r"(?=.{1,253}\Z)([a-z0-9_][a-z0-9_-]{0,62}\.)*[a-z0-9_][a-z0-9_-]{0,62}\.?", re.IGNORECASE)
_PLACE = re.compile(r"(\[.*\]|[^:\[\]]*)(?::(.*))?")
_ADVICE = {
    "username": "write it before the host, as in user:password@, or set REDIS_USERNAME",
    "password": "write it before the host, as in user:password@, or set REDIS_PASSWORD",
    "ssl_ca_certs": "set REDIS_TLS_CA_FILE",
    "ssl_certfile": "set REDIS_TLS_CERT_FILE",
    "ssl_keyfile": "set REDIS_TLS_KEY_FILE",
    "ssl_cert_reqs ssl_check_hostname": "set REDIS_TLS_SKIP_VERIFY",
    "socket_timeout socket_connect_timeout timeout": "set REDIS_DEADLINE_MS",
    "ssl tls": "write rediss:// for TLS",
    "client_name decode_responses encoding encoding_errors health_check_interval max_connections protocol "
    "retry_on_error retry_on_timeout socket_keepalive socket_read_size": "the service sets it; leave it out",
}
_INSTEAD = {option: advice for options, advice in _ADVICE.items() for option in options.split()}


class Address(NamedTuple):
    """The host and port of one server."""

    host: str
    port: int


class Login(NamedTuple):
    """The user name and password for AUTH; both may be empty."""

    username: str = ""
    password: str = ""


@dataclass(frozen=True, slots=True)
class Location:
    """One server (address or Unix socket), the Sentinels of a service, or the seed nodes of a Cluster."""

    addresses: tuple[Address, ...] = ()
    socket: str = ""
    service: str = ""
    is_cluster: bool = False
    tls: bool = False
    db: int = 0
    login: Login = field(default=Login(), repr=False)
    sentinel_login: Login = field(default=Login(), repr=False)

    @property
    def server(self) -> Address | None:
        """Return the address of a single server; None for a socket, Sentinels or a Cluster."""
        return None if self.socket or self.service or self.is_cluster else self.addresses[0]


class _Parts(NamedTuple):
    login: Login
    hosts: str
    path: str | None
    options: Mapping[str, str]


def parse_url(url: str) -> Location:
    """Return the location that *url* describes; raises ValueError if any part of it can't be used."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.lower() not in _SCHEMES:
        raise ValueError(f"must begin with one of {', '.join(f'{known}://' for known in _SCHEMES)}")
    tls, options, locate = _SCHEMES[scheme.lower()]
    return locate(_parts(rest, options), tls=tls)


def parse_host(text: str) -> str:
    """Return a host name in lower case or a canonical IPv6 address; raises ValueError."""
    is_bracketed = text.startswith("[") and text.endswith("]")
    if is_bracketed or ":" in text:
        return str(IPv6Address((text[1:-1] if is_bracketed else text).replace("%25", "%")))
    if not _HOST.fullmatch(text):
        raise ValueError("a host name or an address")
    return text.lower()


def _parts(rest: str, allowed: tuple[str, ...]) -> _Parts:
    if " " in rest or not rest.isprintable():
        raise ValueError("holds a blank or a control character; write it as %20 or the like")
    if "#" in rest:
        raise ValueError("holds a #; write it as %23")
    rest, _, query = rest.partition("?")
    authority, slash, path = rest.partition("/")
    login, _, hosts = authority.rpartition("@")
    username, _, password = login.partition(":")
    return _Parts(
        Login(_decoded(username), _decoded(password)),
        hosts,
        path if slash else None,
        _options(query, allowed),
    )


def _options(query: str, allowed: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for item in filter(None, query.split("&")):
        name, _, value = item.partition("=")
        if name in _INSTEAD:
            raise ValueError(f"has the option {name}: {_INSTEAD[name]}")
        if name not in allowed:
            raise ValueError(f"has an option that is not one of {', '.join(allowed)}; {_ENCODE}")
        if name in found or not value:
            raise ValueError(f"has the option {name} twice or empty")
        found[name] = _decoded(value)
    return found


def _decoded(text: str) -> str:
    problem = "holds a % that encodes no character; a % itself is written %25"
    if re.search("%(?![0-9a-f]{2})", text, re.IGNORECASE):
        raise ValueError(problem)
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise ValueError(problem) from None


def _one(parts: _Parts, *, tls: bool) -> Location:
    if "," in parts.hosts:
        raise ValueError("names several hosts; that takes redis+sentinel:// or redis+cluster://")
    return Location(
        (_address(parts.hosts, 6379),), tls=tls, db=_database(parts, parts.path), login=parts.login
    )


def _socket(parts: _Parts, *, tls: bool) -> Location:
    path = _decoded(f"/{parts.path or ''}")
    if parts.hosts or path.endswith("/") or not path.isprintable():
        raise ValueError(f"does not give the full path of a socket, as in unix:///run/redis.sock; {_ENCODE}")
    if len(path.encode()) > _MAX_PATH_BYTES:
        raise ValueError(f"the path of a socket has at most {_MAX_PATH_BYTES} bytes")
    return Location(socket=path, tls=tls, db=_database(parts, None), login=parts.login)


def _sentinels(parts: _Parts, *, tls: bool) -> Location:
    service, _, db = (parts.path or "").partition("/")
    if not service:
        raise ValueError("lacks the service after the hosts, as in redis+sentinel://host:26379/mymaster")
    if not re.fullmatch(r"[\w.~%+-]+", service, re.ASCII):
        raise ValueError(f"its service has a stray character; {_ENCODE}")
    return Location(
        _addresses(parts.hosts, 26379),
        service=_decoded(service),
        tls=tls,
        db=_database(parts, db),
        login=parts.login,
        sentinel_login=Login(*(parts.options.get(name, "") for name in _SENTINEL_LOGIN)),
    )


def _cluster(parts: _Parts, *, tls: bool) -> Location:
    if parts.path not in {None, "", "0"}:
        raise ValueError(f"ends after the hosts: a Cluster has only database 0; {_ENCODE}")
    if _database(parts, None):
        raise ValueError("a Cluster has only database 0")
    return Location(_addresses(parts.hosts, 6379), is_cluster=True, tls=tls, login=parts.login)


def _database(parts: _Parts, path: str | None) -> int:
    """Return the database number from the path or the ``db`` option, 0 if neither is given."""
    given = filter(None, (path, parts.options.get("db")))
    numbers = {_number(_decoded(text), 0, _MAX_DB, "the database") for text in given}
    if len(numbers) > 1:
        raise ValueError("names two databases, in its path and as an option; keep one")
    return numbers.pop() if numbers else 0


def _addresses(hosts: str, port: int) -> tuple[Address, ...]:
    found = tuple(_address(host, port) for host in hosts.split(","))
    if len(set(found)) < len(found):
        raise ValueError("names a host twice")
    return found


def _address(text: str, default_port: int) -> Address:
    place = _PLACE.fullmatch(text)
    try:
        host = parse_host(place[1] if place else "")
    except ValueError:
        raise ValueError(
            f"its hosts are host or host:port, without %-encoding, an IPv6 address in brackets; {_ENCODE}"
        ) from None
    port = place[2] if place else None
    return Address(host, default_port if port is None else _number(port, 1, _MAX_PORT, "its port"))


def _number(text: str, low: int, high: int, what: str) -> int:
    if not re.fullmatch("[0-9]{1,10}", text) or not low <= int(text) <= high:
        raise ValueError(f"{what} is a whole number from {low} to {high}; {_ENCODE}")
    return int(text)


_SENTINEL_LOGIN = ("sentinel_username", "sentinel_password")
_SCHEMES: dict[str, tuple[bool, tuple[str, ...], Callable[..., Location]]] = {
    "redis": (False, ("db",), _one),
    "rediss": (True, ("db",), _one),
    "unix": (False, ("db",), _socket),
    "redis+sentinel": (False, ("db", *_SENTINEL_LOGIN), _sentinels),
    "rediss+sentinel": (True, ("db", *_SENTINEL_LOGIN), _sentinels),
    "redis+cluster": (False, ("db",), _cluster),
    "rediss+cluster": (True, ("db",), _cluster),
}
