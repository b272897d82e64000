"""The addresses that gunicorn binds to: parse BIND, test that each is free, and check that one answers.

``python app/listening.py`` is the image's HEALTHCHECK. It runs every few seconds, so it imports nothing else
of the app.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from ipaddress import IPv6Address
from pathlib import Path

DEFAULT = "127.0.0.1:8000"
WORKER_CONNECTIONS = 1000
_HINT = "an address such as 0.0.0.0:8000, [::]:8000 or unix:/run/auth.sock, or several separated by commas"
_TCP = re.compile(
    r"(tcp://)?(\[(?P<v6>[0-9a-f:.]+)\]|(?P<name>\*|[a-z0-9_-]{0,63}(\.[a-z0-9_-]{1,63})*)):(?P<port>[0-9]{1,5})"
)
_MAX_PORT, _MAX_PATH_BYTES = 65535, 107
_PATIENCE_S, _PAUSE_S = 5, 0.2
_TIMEOUT_S = 2
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - the loopback address to connect to instead


def parse(text: str) -> str:
    """Return BIND in the form that gunicorn accepts; raises ValueError."""
    found = [_parsed(one) for one in text.split(",")]
    if len(set(found)) < len(found):
        raise ValueError("names an address twice")
    return ",".join(found)


def _parsed(text: str) -> str:
    kind, separator, path = text.partition(":")
    if separator and kind.lower() == "unix":
        return f"unix:{_socket_path(path.removeprefix('//'))}"
    found = _TCP.fullmatch(text.lower())
    if not found or not 0 < int(found["port"]) <= _MAX_PORT:
        raise ValueError(f"{_HINT}, with a port from 1 to {_MAX_PORT}, not {text!r}")
    if found["v6"] is not None:
        return f"[{_ipv6(found['v6'])}]:{int(found['port'])}"
    host = "0.0.0.0" if found["name"] in {"", "*"} else found["name"]  # noqa: S104 - the operator asked for it
    return f"{host}:{int(found['port'])}"


def _ipv6(text: str) -> str:
    try:
        return str(IPv6Address(text))
    except ValueError:
        raise ValueError(_HINT) from None


def _socket_path(path: str) -> str:
    if not path or path.startswith("@") or path.endswith("/") or not path.isprintable():
        raise ValueError("the path of a socket follows unix:, as in unix:/run/auth.sock")
    if len(os.fsencode(path)) > _MAX_PATH_BYTES:
        raise ValueError(f"the path of a socket has at most {_MAX_PATH_BYTES} bytes")
    return path


def problem(address: object) -> str:
    """Return why gunicorn can't bind to *address*, "" if it can; wait up to 5 seconds while it is in use.

    *address* is in gunicorn's own form: a tuple of host and port, or the path of a Unix socket.
    """
    give_up_at = time.monotonic() + _PATIENCE_S
    while True:
        try:
            _try(address)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() > give_up_at:
                return f"can't listen at {_named(address)}: {error.strerror}"
            time.sleep(_PAUSE_S)
        else:
            return ""


def _try(address: object) -> None:
    if isinstance(address, str):
        _try_socket(Path(address))
    elif isinstance(address, tuple):
        with socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(address)


def _try_socket(path: Path) -> None:
    """Bind to *path* as gunicorn does, but only if no server accepts connections there; raises OSError."""
    if path.exists() and not path.is_socket():
        raise FileExistsError(errno.EEXIST, "a file that is not a socket has that name")
    with suppress(FileNotFoundError, ConnectionRefusedError), socket.socket(socket.AF_UNIX) as trial:
        trial.settimeout(_TIMEOUT_S)
        trial.connect(str(path))
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as trial:
        trial.bind(str(path))
    path.unlink()


def _named(address: object) -> str:
    if not isinstance(address, tuple):
        return f"unix:{address}"
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class _UnixConnection(HTTPConnection):
    """HTTP over a Unix socket; the host is its path."""

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(_TIMEOUT_S)
        self.sock.connect(self.host)


def is_alive(bind: str) -> bool:
    """Tell whether the service at one address of BIND answers /livez."""
    with suppress(OSError, HTTPException):
        connection = _connection(bind)
        connection.request("GET", "/livez", headers={"Host": "localhost"})
        return connection.getresponse().status == 200  # noqa: PLR2004 - HTTP's own number
    return False


def _connection(bind: str) -> HTTPConnection:
    if bind.startswith("unix:"):
        return _UnixConnection(
            bind.removeprefix("unix:"), 80
        )  # or a colon in the path would be taken for a port
    host, _, port = bind.rpartition(":")
    host = host.strip("[]")
    return HTTPConnection(_EVERYWHERE.get(host, host), int(port), timeout=_TIMEOUT_S)


def main(binds: Iterable[str]) -> int:
    """Return the exit status of the check: 0 if the service answers on each of *binds*."""
    return 0 if all(map(is_alive, binds)) else 1


if __name__ == "__main__":
    sys.exit(main(parse(os.environ.get("BIND", "").strip() or DEFAULT).split(",")))
