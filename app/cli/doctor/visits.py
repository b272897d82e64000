"""The HTTP client with which ``flask doctor`` visits the public entrance.

It sends Host and headers as they are given, follows no redirect, and reads the beginning of a response.
"""

from __future__ import annotations

import re
import socket
import ssl
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import NamedTuple, Self
from urllib.parse import quote, urlsplit

from app.core.hosts import InvalidHostPatternError, parse_pattern
from app.version import NAME, VERSION

TIMEOUT_S = 5.0
_MAX_BODY_BYTES = 256 * 1024
_PORTS = {"http": 80, "https": 443}
_CONNECT_TO = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]/@\s]+)(?::([0-9]{1,5}))?", re.ASCII)
_MAX_PORT = 65535

Headers = Iterable[tuple[str, str]]


class VisitError(Exception):
    """No response arrived; the message says why."""


class CertificateError(VisitError):
    """The certificate of the entrance can't be verified."""


class Answer(NamedTuple):
    """A response: its status, its headers and the beginning of its body."""

    status: int
    headers: list[tuple[str, str]]
    body: str

    def get(self, name: str) -> str:
        """Return all values of a header, joined by commas; empty if there is none."""
        return ", ".join(value for known, value in self.headers if known.lower() == name.lower())


@dataclass(frozen=True, slots=True)
class Url:
    """An address to check; *host* is canonical, in brackets if it is an IPv6 address."""

    scheme: str
    host: str
    port: int
    target: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the address in *text*; raises ValueError."""
        parts = urlsplit(text)
        if parts.scheme not in _PORTS or not parts.hostname or "*" in parts.hostname:
            raise ValueError("an address such as https://app.example.com")
        if parts.username is not None or parts.password is not None:
            raise ValueError("an address without user name and password")
        try:
            host = parse_pattern(f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname)
        except InvalidHostPatternError as error:
            raise ValueError(str(error)) from None
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return cls(
            parts.scheme, host, parts.port or _PORTS[parts.scheme], quote(target, safe="%/?&=:@!$'()*+,;~")
        )

    @property
    def authority(self) -> str:
        """Return the host with the port, if that is not the scheme's own."""
        return self.host if self.is_usual else f"{self.host}:{self.port}"

    @property
    def is_usual(self) -> bool:
        """Tell whether the port is the scheme's own."""
        return self.port == _PORTS[self.scheme]

    @property
    def is_local(self) -> bool:
        """Tell whether the name stands for this machine."""
        return self.host.rpartition(".")[2] == "localhost" or self.host.startswith(("127.", "[::1]"))

    def plain(self) -> Self:
        """Return the address of the same host over plain http, on its own port."""
        return replace(self, scheme="http", port=_PORTS["http"])

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.target}"


def parse_connect_to(text: str) -> tuple[str, int | None]:
    """Return the host and the port, if there is one, to connect to instead; raises ValueError."""
    found = _CONNECT_TO.fullmatch(text)
    if not found or int(found[2] or 1) not in range(1, _MAX_PORT + 1):
        raise ValueError("HOST or HOST:PORT, an IPv6 address in brackets")
    return found[1].strip("[]"), int(found[2]) if found[2] else None


@dataclass(frozen=True, slots=True)
class Door:
    """Where requests for an address are sent, and whether any certificate is accepted."""

    url: Url
    connect_to: tuple[str, int | None] | None = None
    is_insecure: bool = False

    def visit(self, target: str, headers: Headers, method: str = "GET", host: str = "") -> Answer:
        """Send one request and return the response; raises VisitError."""
        connection = _Connection(self)
        try:
            _send(connection, method, target, [("Host", host or self.url.authority), *headers])
            return _read(connection.getresponse(), connection)
        except ssl.SSLCertVerificationError as error:
            raise CertificateError(error.verify_message) from None
        except TimeoutError:
            raise VisitError(f"nothing arrived within {TIMEOUT_S:.0f} seconds") from None
        except (OSError, HTTPException, UnicodeError) as error:
            raise VisitError(_reason(error)) from None
        finally:
            connection.close()

    def connect(self) -> socket.socket:
        """Return a socket that is connected to the entrance, with TLS if the address has it."""
        host, port = self.connect_to or (self.url.host.strip("[]"), None)
        if not self.connect_to and self.url.is_local and host.endswith("localhost"):
            host = "localhost"  # RFC 6761 section 6.3; not every resolver knows the names below it
        plain = socket.create_connection((host, port or self.url.port), TIMEOUT_S)
        if self.url.scheme == "http":
            return plain
        try:
            context = _context(is_insecure=self.is_insecure)
            return context.wrap_socket(plain, server_hostname=self.url.host.strip("[]"))
        except OSError:
            plain.close()
            raise


@cache
def _context(*, is_insecure: bool) -> ssl.SSLContext:
    """Return the context of all connections; loading the system's authorities takes a fifth of a second."""
    if not is_insecure:
        return ssl.create_default_context()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class _Connection(HTTPConnection):
    def __init__(self, door: Door) -> None:
        super().__init__("entrance", timeout=TIMEOUT_S)
        self._door = door

    def connect(self) -> None:
        self.sock = self._door.connect()


def _send(connection: HTTPConnection, method: str, target: str, headers: Headers) -> None:
    connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
    own = [("User-Agent", f"{NAME}-doctor/{VERSION}"), ("Accept", "*/*"), ("Connection", "close")]
    for name, value in [*headers, *own]:
        connection.putheader(name, value)
    connection.endheaders()


def _read(response: HTTPResponse, connection: HTTPConnection) -> Answer:
    """Return the answer; a body that goes on for longer than the timeout ends there."""
    body = b"".join(_chunks(response, connection, time.monotonic() + TIMEOUT_S))
    return Answer(response.status, response.getheaders(), body.decode("latin-1"))


def _chunks(response: HTTPResponse, connection: HTTPConnection, give_up_at: float) -> Iterator[bytes]:
    left = _MAX_BODY_BYTES
    with suppress(OSError, HTTPException):
        while left > 0 and (patience_s := give_up_at - time.monotonic()) > 0:
            if connection.sock:
                connection.sock.settimeout(patience_s)
            chunk = response.read1(left)
            if not chunk:
                return
            left -= len(chunk)
            yield chunk


def _reason(error: Exception) -> str:
    """Return why a visit failed, in a few words."""
    if isinstance(error, socket.gaierror):
        return "its name can't be resolved"
    if isinstance(error, ssl.SSLError):
        return f"it does not speak TLS as expected ({error.reason or 'no reason given'})"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return f"not an HTTP response ({type(error).__name__})"
