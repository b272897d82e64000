"""The proxies of docs/recipes/ as real processes, each with its documented configuration."""

from __future__ import annotations

import re
import threading
from base64 import b64encode
from collections.abc import Callable, Mapping
from hashlib import sha1
from pathlib import Path
from typing import Any, ClassVar

import yaml  # type: ignore[import-untyped]

from devkit.backend import Backend, EchoHandler, Seen
from devkit.docker_api import DockerApi
from devkit.http import Answer, Headers, bearer, call
from devkit.pages import blocks
from devkit.ports import free_port
from devkit.process import Process
from devkit.programs import path_of

HOST = "ollama.example.com"
Change = Callable[[str], str]


def recipe(title: str, language: str, path: str, nth: int = 0) -> str:
    """Return the *nth* example in *language* on a page, below the heading *title* unless that is empty."""
    return blocks(path, language, title)[nth]


def unchanged(text: str) -> str:
    """Return a recipe unchanged."""
    return text


class Proxy(Process):
    """A proxy that sends a sub-request to /auth for each request to *host*; *change* modifies its recipe."""

    binary: ClassVar[str]

    def __init__(self, auth: int, backend: int, change: Change = unchanged, host: str = HOST) -> None:
        super().__init__()
        self.port, self.host = free_port(), host
        self._auth, self._backend = auth, backend
        self._configure(change)

    def _configure(self, change: Change) -> None:
        """Write the configuration and set the command."""
        raise NotImplementedError

    def _write(self, name: str, text: str, more: Mapping[str, str] | None = None) -> Path:
        """Write a file with local addresses instead of the documented ones."""
        places = {
            **(more or {}),
            "auth:8000": f"127.0.0.1:{self._auth}",
            "ollama:11434": f"127.0.0.1:{self._backend}",
            HOST: self.host,
        }
        for documented, here in places.items():
            text = text.replace(documented, here)
        (self.dir / name).write_text(text)
        return self.dir / name

    @classmethod
    def page(cls) -> str:
        """Return the page with its configuration."""
        return f"docs/recipes/{cls.name}.md"

    def _documented(self, language: str) -> str:
        return recipe("", language, self.page())

    @classmethod
    def path(cls) -> str:
        """Return the path of the program, "" if it is not installed."""
        return path_of(cls.binary)

    def is_ready(self) -> bool:
        """Return whether it answers, even for an unknown host."""
        return self.call(host="nobody.test").status > 0

    def call(self, token: str | None = None, host: str = "", headers: Headers = (), **more: Any) -> Answer:
        """Send a client's request; *more* is as in devkit.http.call."""
        target = more.pop("target", "/")
        return call(self.port, target, [("Host", host or self.host), *bearer(token), *headers], **more)


class Traefik(Proxy):
    """Traefik with README.md's files."""

    name = binary = "traefik"

    def _configure(self, change: Change) -> None:
        dynamic, static = (recipe("Protect a backend", "yaml", "README.md", nth) for nth in (0, 1))
        self._write("dynamic.yml", change(dynamic))
        more = {
            "providers": {"file": {"filename": str(self.dir / "dynamic.yml"), "watch": False}},
            "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
        }
        entry = {"address: :80": f"address: 127.0.0.1:{self.port}"}
        file = self._write("static.yml", static + yaml.safe_dump(more), entry)
        self.argv = [self.path(), f"--configfile={file}"]

    def is_ready(self) -> bool:
        """Return whether its routes are loaded."""
        return self.call().status != 404


class LabeledTraefik(Proxy):
    """Traefik of the documented Compose file, which reads the labels in it from a stand-in for Docker."""

    name = binary = "traefik"

    def __init__(self, auth: int, backend: int, change: Change = unchanged, host: str = HOST) -> None:
        self._docker = DockerApi(backend)
        super().__init__(auth, backend, change, host)

    def _configure(self, change: Change) -> None:
        places = {"address=:80": f"address=127.0.0.1:{self.port}", "port=11434": f"port={self._backend}"}
        file = self._write("compose.yaml", change(self._documented("yaml")), places)
        services = yaml.safe_load(file.read_text())["services"]
        self._docker.publish({name: service.get("labels", ()) for name, service in services.items()})
        docker = f"--providers.docker.endpoint=tcp://127.0.0.1:{self._docker.port}"
        self.argv = [self.path(), *services["traefik"]["command"], docker]

    def start(self) -> None:
        """Start Docker's stand-in first."""
        self._docker.__enter__()
        super().start()

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        self._docker.__exit__()

    def is_ready(self) -> bool:
        """Return whether its routes are loaded."""
        return self.call().status != 404


class Caddy(Proxy):
    """Caddy without TLS."""

    name = binary = "caddy"
    _OPTIONS = "{\n admin off\n persist_config off\n auto_https off\n servers {\n protocols h1 h2c"

    def _configure(self, change: Change) -> None:
        text = change(self._documented("caddyfile").replace("{\n\tservers {", self._OPTIONS, 1))
        site = re.sub(
            r"^([\w.]*) {$", rf"http://\1:{self.port} {{\n bind 127.0.0.1", text, flags=re.MULTILINE
        )
        self.argv = [self.path(), "run", "--config", str(self._write("Caddyfile", site))]


class Nginx(Proxy):
    """nginx with directories of its own."""

    name = binary = "nginx"
    _TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")

    def _configure(self, change: Change) -> None:
        paths = "".join(f"{kind}_temp_path {self.dir / kind};\n" for kind in self._TEMPORARY)
        main = f"daemon off;\nworker_processes 1;\npid {self.dir / 'pid'};\nevents {{}}\n"
        http = f"http {{\naccess_log off;\n{paths}{change(self._documented('nginx'))}}}\n"
        port = {"listen 80": f"listen 127.0.0.1:{self.port}"}
        file = self._write("nginx.conf", main + http, port)
        self.argv = [self.path(), "-c", str(file), "-p", str(self.dir), "-e", "stderr"]


class Envoy(Proxy):
    """Envoy with its whole configuration as documented."""

    name = binary = "envoy"

    def _configure(self, change: Change) -> None:
        documented = {"0.0.0.0": 80, "auth": 8000, "ollama": 11434}
        places = {
            f"address: {name}, port_value: {port}": f"address: 127.0.0.1, port_value: {here}"
            for (name, port), here in zip(
                documented.items(), (self.port, self._auth, self._backend), strict=True
            )
        }
        file = self._write("envoy.yaml", change(self._documented("yaml")), places)
        options = ["--concurrency", "1", "--use-dynamic-base-id", "--log-level", "error"]
        self.argv = [self.path(), "-c", str(file), *options]


class HAProxy(Proxy):
    """HAProxy with the documented Lua program."""

    name = binary = "haproxy"

    def _configure(self, change: Change) -> None:
        program = self._write("acl_auth.lua", change(self._documented("lua")))
        places = {"/etc/haproxy/acl_auth.lua": str(program), "bind :80": f"bind 127.0.0.1:{self.port}"}
        file = self._write("haproxy.cfg", change(self._documented("haproxy")), places)
        self.argv = [self.path(), "-db", "-f", str(file)]


class EventsBackend(Backend):
    """A backend with WebSockets, /large headers and /events, which sends its second event after *go_on*."""

    def __init__(self, handler: type[EchoHandler] | None = None) -> None:
        super().__init__(handler or EventsHandler)
        self.go_on = threading.Event()


class EventsHandler(EchoHandler):
    """Answers as EventsBackend does."""

    server: EventsBackend

    def answer(self, seen: Seen) -> None:
        """Answer one request."""
        if key := seen.fields.get("sec-websocket-key"):
            self.server.seen.append(seen)
            self.wfile.write(_switching(key))
            self.wfile.write(self.rfile.read(5))
        elif seen.path == "/large":
            large = b"X-Large: " + b"x" * 12_000
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + large + b"\r\n\r\n")
        elif seen.path == "/events":
            self.server.seen.append(seen)
            self._stream()
        else:
            super().answer(seen)

    def _stream(self) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        self.wfile.write(head + b"9\r\ndata: 1\n\n\r\n")
        self.server.go_on.wait(30)
        self.wfile.write(b"9\r\ndata: 2\n\n\r\n0\r\n\r\n")


def _switching(key: str) -> bytes:
    """Return the response to a WebSocket handshake (RFC 6455 section 4.2.2)."""
    accept = b64encode(sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest())  # noqa: S324
    fields = b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + accept
    return b"HTTP/1.1 101 Switching Protocols\r\n" + fields + b"\r\n\r\n"
