"""`python -m devkit.capture` records the sub-requests that real proxies send for the requests of clients.

Run it again when a proxy or its recipe has changed, and read the diff.
"""

from __future__ import annotations

import re
import socketserver
import sys
from collections.abc import Callable
from contextlib import suppress

from devkit import http2
from devkit.backend import Backend
from devkit.http import Connection
from devkit.proxies import Caddy, Envoy, HAProxy, Nginx, Proxy
from devkit.server import Server
from devkit.subrequests import DATA, clients, write
from devkit.traefik import EntryPoint, Traefik

_OK = (
    b"HTTP/1.1 200 OK\r\nX-Auth-Token-Id: 1\r\nX-Auth-Email: \r\nX-Auth-Comment: \r\n"
    b"Content-Length: 2\r\n\r\nOK"
)
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
# Fields that HTTP/2 does not have (RFC 9113 section 8.2.2).
_OF_HTTP1 = {
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "transfer-encoding",
    "upgrade",
}


class Recorder(Server):
    """An HTTP server that allows everything and keeps the head of each request."""

    def __init__(self) -> None:
        super().__init__(_Recording)
        self.heads: list[bytes] = []


class _Recording(socketserver.StreamRequestHandler):
    server: Recorder
    timeout = 30

    def handle(self) -> None:
        with suppress(OSError):
            while head := b"".join(iter(self.rfile.readline, b"\r\n")):
                self.server.heads.append(head + b"\r\n")
                length = _LENGTH.search(head)
                self.rfile.read(int(length[1]) if length else 0)
                self.wfile.write(_OK)


def all_headers(text: str) -> str:
    """Return nginx's recipe as most people write it, which forwards all headers of the client."""
    return re.sub(r" +(proxy_pass_request_headers|proxy_set_header (Auth|X-F)|proxy_http_v).*\n", "", text)


def with_prefix(text: str) -> str:
    """Return Envoy's recipe with all headers, and with the client's path after our own."""
    prefixed = text.replace("path_override: /auth", "path_prefix: /auth")
    return re.sub(r"patterns:\n( +- {exact: .*}\n)+", 'patterns: [{safe_regex: {regex: ".*"}}]\n', prefixed)


def any_host(text: str) -> str:
    """Return a recipe changed for the host of the recorded clients."""
    names = {
        "[ollama.example.com, ": '["*"] #',
        "server_name ollama.example.com": "server_name _",
        "ollama.example.com {": " {",
    }
    for old, new in names.items():
        text = text.replace(old, new)
    return re.sub(r"server {\n.*default_server;\n.*\n}\n|.* deny_status 421 .*\n", "", text)


def capture(port: int, seen: list[bytes], *, http_2: bool) -> list[tuple[str, bytes]]:
    """Send every client's request to the proxy on *port* and return its sub-requests."""
    found = []
    for title, head in clients():
        found += [(title, each) for each in _subrequests(port, seen, head, send)]
        if http_2:
            found += [(f"{title}, HTTP/2", each) for each in _subrequests(port, seen, head, _send_http2)]
    return found


def _subrequests(
    port: int, seen: list[bytes], head: bytes, send: Callable[[int, bytes], None]
) -> list[bytes]:
    seen.clear()
    send(port, head)
    return list(seen)


def send(port: int, head: bytes) -> None:
    """Send a head with the body that it announces, and wait for the answer."""
    length = _LENGTH.search(head)
    body = b"x" * int(length[1]) if length else b""
    chunked = b"5\r\nhello\r\n0\r\n\r\n" if b"chunked" in head else b""
    with Connection(port) as connection:
        connection.send(head + body + chunked)
        connection.read(head=head.startswith(b"HEAD"))


def _send_http2(port: int, head: bytes) -> None:
    first, *lines = head.decode().rstrip("\r\n").split("\r\n")
    method, path, _ = first.split(" ")
    fields = [(name.lower(), value) for name, _, value in (line.partition(": ") for line in lines)]
    pseudo = {":method": method, ":scheme": "http", ":authority": dict(fields)["host"], ":path": path}
    http2.is_ok(port, [*pseudo.items(), *(each for each in fields if each[0] not in _OF_HTTP1)])


def _save(name: str, requests: list[tuple[str, bytes]], *ports: int) -> None:
    """Write *requests* to a file, with the documented ports instead of *ports*, which change each time."""
    for port, usual in zip(ports, (b"8000", b"8080"), strict=False):
        requests = [(title, head.replace(b":%d" % port, b":" + usual)) for title, head in requests]
    write(DATA / "subrequests" / f"{name}.txt", requests)
    sys.stderr.write(f"{name}: {len(requests)} heads of {len(clients())} clients\n")


def main() -> None:
    """Record all proxies."""
    with Recorder() as recorder, Backend() as backend:
        _capture_traefik(recorder, backend)
        _capture("caddy", Caddy, recorder, backend)
        _capture("nginx", Nginx, recorder, backend)
        _capture("nginx-all-headers", Nginx, recorder, backend, all_headers)
        _capture("envoy", Envoy, recorder, backend)
        _capture("envoy-prefix", Envoy, recorder, backend, with_prefix)
        _capture("haproxy", HAProxy, recorder, backend)


def _capture(
    name: str,
    kind: type[Proxy],
    recorder: Recorder,
    backend: Backend,
    change: Callable[[str], str] = lambda text: text,
) -> None:
    with kind(recorder.port, backend.port, lambda text: any_host(change(text))) as proxy:
        found = capture(proxy.port, recorder.heads, http_2=kind in {Caddy, Envoy})
    _save(name, found, recorder.port, proxy.port)


def _capture_traefik(recorder: Recorder, backend: Backend) -> None:
    entry_points = {
        "traefik": EntryPoint(),
        "traefik-all-headers": EntryPoint(options={"authRequestHeaders": []}),
    }
    with Traefik(recorder.port, backend.port, entry_points) as traefik:
        for name, port in traefik.ports.items():
            found = capture(port, recorder.heads, http_2=True)
            _save(name, found, recorder.port, port)


if __name__ == "__main__":
    main()
