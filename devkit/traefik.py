"""Traefik in front of the service and a backend."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from devkit.http import Answer, Headers, bearer, call
from devkit.ports import free_port
from devkit.process import Process


@dataclass(frozen=True)
class EntryPoint:
    """An entry point of Traefik with ForwardAuth; *options* replace the safe ones."""

    address: str = ""
    insecure: bool = False
    options: dict[str, Any] = field(default_factory=dict)


class Traefik(Process):
    """Traefik, which routes admin.test to our pages and every other host to the backend.

    Below /acl, stripped.test and kept.test lead to our pages too: without that path, and with it.
    """

    name = "traefik"

    def __init__(
        self,
        auth: int,
        backend: int,
        entry_points: Mapping[str, EntryPoint] | None = None,
        log_level: str = "INFO",
    ) -> None:
        super().__init__()
        entry_points = entry_points or {"web": EntryPoint()}
        self.ports = {name: free_port() for name in entry_points}
        self.port = next(iter(self.ports.values()))
        self._write(
            "dynamic.yml", _routing(f"http://127.0.0.1:{auth}", f"http://127.0.0.1:{backend}", entry_points)
        )
        self._write("static.yml", self._entries(entry_points, log_level))
        binary = Path(sys.executable).with_name("traefik")
        self.argv = [str(binary), f"--configfile={self.dir / 'static.yml'}"]

    def is_ready(self) -> bool:
        """Return whether all routers are loaded: a request without a token is then refused, not a 404."""
        return all(call(port, "/", [("Host", "a.test")]).status != 404 for port in self.ports.values())

    def call(
        self,
        token: str | None = None,
        host: str = "a.test",
        headers: Headers = (),
        entry_point: str = "",
        **more: Any,
    ) -> Answer:
        """Send a client's request through an entry point, by default the first; *more* is passed to call."""
        port = self.ports[entry_point] if entry_point else self.port
        return call(port, more.pop("target", "/"), [("Host", host), *bearer(token), *headers], **more)

    def _entries(self, entry_points: Mapping[str, EntryPoint], log_level: str) -> dict[str, Any]:
        return {
            "entryPoints": {
                name: {
                    "address": f"127.0.0.1:{self.ports[name]}",
                    "forwardedHeaders": {"insecure": entry_point.insecure},
                    "http": {"aliasHeadersStrategy": "delete"},
                }
                for name, entry_point in entry_points.items()
            },
            "providers": {"file": {"filename": str(self.dir / "dynamic.yml"), "watch": False}},
            "log": {"level": log_level},
            "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
        } | ({"accessLog": {}} if log_level == "DEBUG" else {})

    def _write(self, name: str, content: Mapping[str, Any]) -> None:
        (self.dir / name).write_text(json.dumps(content, indent=1))  # because YAML includes JSON


def _routing(auth: str, backend: str, entry_points: Mapping[str, EntryPoint]) -> dict[str, Any]:
    routers = {
        name: {"rule": "PathPrefix(`/`)", "entryPoints": [name], "middlewares": [name], "service": "backend"}
        for name in entry_points
    }
    admin = {"rule": "Host(`admin.test`)", "service": "auth"}
    kept = {"rule": "Host(`kept.test`) && PathPrefix(`/acl`)", "service": "auth"}
    stripped = {
        "rule": "Host(`stripped.test`) && PathPrefix(`/acl`)",
        "service": "auth",
        "middlewares": ["strip"],
    }
    services = {"backend": backend, "auth": auth}
    return {
        "http": {
            "routers": routers | {"admin": admin, "kept": kept, "stripped": stripped},
            "middlewares": {
                name: {"forwardAuth": _forward_auth(auth, entry_point)}
                for name, entry_point in entry_points.items()
            }
            | {"strip": {"stripPrefix": {"prefixes": ["/acl"]}}},
            "services": {
                name: {"loadBalancer": {"servers": [{"url": url}]}} for name, url in services.items()
            },
        }
    }


def _forward_auth(auth: str, entry_point: EntryPoint) -> dict[str, Any]:
    safe: dict[str, Any] = {
        "address": entry_point.address or f"{auth}/auth",
        "trustForwardHeader": False,
        "authRequestHeaders": ["Authorization"],
        "authResponseHeaders": ["Authorization", "X-Auth-Token-Id", "X-Auth-Email", "X-Auth-Comment"],
        "maxResponseBodySize": 4096,
    }
    return safe | entry_point.options


class Balancer(Traefik):
    """Traefik whose ForwardAuth uses an entry point of its own, which balances over the ports in *pool*."""

    def __init__(self, pool: list[int], backend: int, *, retry: bool = False) -> None:
        super().__init__(0, backend, {"web": EntryPoint(), "inner": EntryPoint(insecure=True)})
        self._retry = retry
        static = json.loads((self.dir / "static.yml").read_text())
        static["providers"] = {"file": static["providers"]["file"] | {"watch": True}} | {
            "providersThrottleDuration": "100ms"
        }
        self._write("static.yml", static)
        self.spread(pool)

    def replicas(self) -> int:
        """Return how many replicas answer, told apart by the realm in their challenges."""
        refused = (call(self.port, "/", [("Host", "a.test")]) for _ in range(10))
        return len({answer.headers.get("www-authenticate") for answer in refused})

    def spread(self, pool: list[int]) -> None:
        """Balance over the ports in *pool* from now on."""
        path = self.dir / "dynamic.yml"
        http: dict[str, Any] = json.loads(path.read_text())["http"]
        http["middlewares"]["web"]["forwardAuth"]["address"] = f"http://127.0.0.1:{self.ports['inner']}/auth"
        http["middlewares"]["again"] = {"retry": {"attempts": 2}}
        http["routers"]["inner"]["service"] = "replicas"
        http["routers"]["inner"]["middlewares"] = ["again"] if self._retry else []
        probe = {"path": "/livez", "interval": "200ms", "timeout": "1s"}
        balancer = {"servers": [{"url": f"http://127.0.0.1:{port}"} for port in pool]}
        http["services"]["replicas"] = {"loadBalancer": balancer | {"healthCheck": probe}}
        self._write("new.json", {"http": http})
        (self.dir / "new.json").replace(path)  # atomically, because Traefik might read half of it
