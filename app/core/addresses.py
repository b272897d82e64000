"""Where a Redis of several servers is to be found, as one URL says it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

_SINGLE = {"redis", "rediss", "unix"}
_PORTS = {"sentinel": 26379, "cluster": 6379}
_SEVERAL = {f"{tls}+{kind}" for tls in ("redis", "rediss") for kind in _PORTS}
_SCHEMES = ", ".join(f"{scheme}://" for scheme in sorted(_SINGLE | _SEVERAL))
_SENTINEL_LOGIN = ("sentinel_username", "sentinel_password")
_ENCODE = "in names and passwords, characters like / ? @ need %-encoding"
_MAX_PORT, _MAX_DB = 65535, 2**31


class Address(NamedTuple):
    """Where one server listens."""

    host: str
    port: int


class Login(NamedTuple):
    """What a server is signed in to with; both may be empty."""

    username: str = ""
    password: str = ""


@dataclass(frozen=True, slots=True)
class Several:
    """The servers that the client begins with: sentinels of *service*, or nodes if there is no service."""

    addresses: tuple[Address, ...]
    tls: bool = False
    login: Login = field(default=Login(), repr=False)
    service: str = ""
    db: int = 0
    sentinel_login: Login = field(default=Login(), repr=False)


def parse_several(url: str) -> Several | None:
    """Return the servers of a ``+sentinel`` or ``+cluster`` URL, None for a URL of one server.

    Raises ValueError for a URL that can't be used; the message shows no part that may be secret.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in _SINGLE | _SEVERAL:
        raise ValueError(f"must begin with one of {_SCHEMES}")
    if scheme in _SINGLE:
        _check_single(url)
        return None
    security, kind = scheme.split("+")
    rest, _, query = rest.partition("?")
    places, _, path = rest.partition("/")
    login, _, hosts = places.rpartition("@")
    made = Several(_addresses(hosts, _PORTS[kind]), security == "rediss", _login(login))
    return _with_service(made, path, query) if kind == "sentinel" else _without_path(made, path, query)


def _check_single(url: str) -> None:
    try:
        _ = urlsplit(url).port
    except ValueError:
        raise ValueError(f"its port is no whole number up to {_MAX_PORT}; {_ENCODE}") from None


def _addresses(hosts: str, port: int) -> tuple[Address, ...]:
    return tuple(_address(host, port) for host in hosts.split(","))


def _address(text: str, default_port: int) -> Address:
    host, separator, port = text.rpartition(":")
    if not separator or text.endswith("]"):
        host, port = text, str(default_port)
    host = host.removeprefix("[").removesuffix("]")
    if not host.isprintable() or not host or set(host) & set(" @/"):
        raise ValueError(f"its hosts are host or host:port, separated by commas; {_ENCODE}")
    return Address(host, _number(port, 1, _MAX_PORT, "a port"))


def _login(text: str) -> Login:
    username, _, password = text.partition(":")
    return Login(unquote(username), unquote(password))


def _with_service(made: Several, path: str, query: str) -> Several:
    service, _, db = path.partition("/")
    if not service:
        raise ValueError("names no service; it follows the hosts, as in redis+sentinel://host:26379/mymaster")
    options = dict(parse_qsl(query, keep_blank_values=True))
    if options.keys() - set(_SENTINEL_LOGIN):
        raise ValueError(f"has an option that is not one of {', '.join(_SENTINEL_LOGIN)}; {_ENCODE}")
    return replace(
        made,
        service=unquote(service),
        db=_number(db or "0", 0, _MAX_DB, "the database"),
        sentinel_login=Login(*(options.get(name, "") for name in _SENTINEL_LOGIN)),
    )


def _without_path(made: Several, path: str, query: str) -> Several:
    if path not in {"", "0"} or query:
        raise ValueError(f"ends after the hosts: a Cluster has but database 0, and no options; {_ENCODE}")
    return made


def _number(text: str, low: int, high: int, what: str) -> int:
    if not (text.isascii() and text.isdigit()) or not low <= int(text) <= high:
        raise ValueError(f"{what} is a whole number from {low} to {high}; {_ENCODE}")
    return int(text)
