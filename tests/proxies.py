"""The proxies of docs/proxies.md as real processes, each with the configuration that stands there."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from tests.harness import ROOT, Answer, Headers, Process, bearer, call, free_port

HOST = "app.example.com"


def recipe(title: str, language: str, path: str = "docs/proxies.md") -> str:
    """Return the first example in *language* below the heading *title*."""
    text = (ROOT / path).read_text("utf-8")
    found = re.search(
        rf"^#+ {title}\n.*?^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL | re.IGNORECASE
    )
    assert found, f"{path} has no {language} below {title}"
    return found[1]


def same(text: str) -> str:
    """Return the recipe as it is."""
    return text


class Proxy(Process):
    """A proxy that asks our /auth about each request to HOST; *change* makes another of its recipe."""

    language: ClassVar[str]

    def __init__(self, auth: int, backend: int, change: Callable[[str], str] = same) -> None:
        super().__init__()
        self.port = free_port()
        self._places = {"auth": auth, "app": backend, "listen": self.port}
        self._write(change(recipe(type(self).__name__, self.language)))

    def _write(self, text: str) -> None:
        """Write the configuration."""
        raise NotImplementedError

    def _local(self, text: str, **more: str) -> str:
        """Return *text* with the addresses of this machine."""
        known = {
            "auth:8000": f"127.0.0.1:{self._places['auth']}",
            "app:8080": f"127.0.0.1:{self._places['app']}",
        } | more
        for old, new in known.items():
            text = text.replace(old, new)
        return text

    def is_ready(self) -> bool:
        """Tell whether it answers."""
        return call(self.port, "/", [("Host", HOST)]).status > 0

    def call(self, token: str | None = None, host: str = HOST, headers: Headers = (), **more: Any) -> Answer:
        """Send a client's request; *more* is as in harness.call."""
        target = more.pop("target", "/")
        return call(self.port, target, [("Host", host), *bearer(token), *headers], **more)


class Caddy(Proxy):
    """Caddy from PyPI."""

    name, language = "caddy", "caddyfile"
    _GLOBAL = (
        "{\n\tadmin off\n\tpersist_config off\n\tauto_https off\n\tservers {\n\t\tprotocols h1 h2c\n\t}\n}\n"
    )

    def _write(self, text: str) -> None:
        site = re.sub(
            r"^([\w.]*) {$", rf"http://\1:{self.port} {{\n\tbind 127.0.0.1", text, flags=re.MULTILINE
        )
        (self.dir / "Caddyfile").write_text(self._GLOBAL + self._local(site))
        self.argv = [_installed("caddy"), "run", "--config", str(self.dir / "Caddyfile")]


class Nginx(Proxy):
    """Debian's nginx."""

    name, language = "nginx", "nginx"

    def _write(self, text: str) -> None:
        temporary = "".join(
            f"{kind}_temp_path {self.dir / kind};\n"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        local = self._local(text, **{"listen 80;": f"listen 127.0.0.1:{self.port};"})
        (self.dir / "nginx.conf").write_text(
            f"daemon off;\nerror_log stderr;\npid {self.dir / 'pid'};\nuser root;\nworker_processes 1;\n"
            f"events {{}}\nhttp {{\naccess_log off;\n{temporary}{local}}}\n"
        )
        self.argv = [_system("nginx"), "-c", str(self.dir / "nginx.conf"), "-p", str(self.dir)]


class Envoy(Proxy):
    """Envoy from PyPI."""

    name, language = "envoy", "yaml"

    def _write(self, text: str) -> None:
        local = self._local(
            text,
            **{
                "address: 0.0.0.0, port_value: 80}": f"address: 127.0.0.1, port_value: {self.port}}}",
                "address: auth, port_value: 8000": f"address: 127.0.0.1, port_value: {self._places['auth']}",
                "address: app, port_value: 8080": f"address: 127.0.0.1, port_value: {self._places['app']}",
            },
        )
        (self.dir / "envoy.yaml").write_text(local)
        options = ["--concurrency", "1", "--use-dynamic-base-id", "--log-level", "warning"]
        self.argv = [_installed("envoy"), "-c", str(self.dir / "envoy.yaml"), *options]


class HAProxy(Proxy):
    """Debian's HAProxy."""

    name, language = "haproxy", "haproxy"

    def _write(self, text: str) -> None:
        program = self.dir / "acl_auth.lua"
        program.write_text(self._local(recipe("HAProxy", "lua")))
        places = {"/etc/haproxy/acl_auth.lua": str(program), "bind :80": f"bind 127.0.0.1:{self.port}"}
        (self.dir / "haproxy.cfg").write_text(self._local(text, **places))
        self.argv = [_system("haproxy"), "-db", "-f", str(self.dir / "haproxy.cfg")]


def _installed(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


def _system(name: str) -> str:
    return shutil.which(name, path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin") or name


ALL: Sequence[type[Proxy]] = (Caddy, Nginx, Envoy, HAProxy)
