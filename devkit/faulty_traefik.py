"""A Traefik with one host for each fault that ``flask doctor`` finds at the entrance."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import yaml  # type: ignore[import-untyped]

from devkit.http import call
from devkit.ports import free_port
from devkit.process import ROOT, Process

SHIPPED: dict[str, Any] = yaml.safe_load((ROOT / "deploy/traefik/routes.yml").read_text("utf-8"))["http"]
_SAFE: dict[str, Any] = SHIPPED["middlewares"]["auth-middleware"]["forwardAuth"]
_KEPT = "aliasHeadersStrategy"


class Fault(NamedTuple):
    """How one host differs from the shipped routes: routers with these rules, each to a service.

    In rules and addresses, HOST is the host and AUTH the service; a rule of "" is the host alone. A router
    to "open SERVICE" has no middleware. *middleware* replaces options of ForwardAuth.
    """

    routers: dict[str, str] = {"": "backend"}  # noqa: RUF012 - the default is not changed
    middleware: dict[str, Any] = {}  # noqa: RUF012
    entry_point: str = "web"


FAULTS = {
    "safe": Fault(),
    "admin": Fault({SHIPPED["routers"]["admin"]["rule"].replace("auth.localhost", "HOST"): "open auth"}),
    "quiet": Fault({"": "quiet"}),
    "forged": Fault(middleware={"trustForwardHeader": True}, entry_point="insecure"),
    "forged-quiet": Fault({"": "quiet"}, {"trustForwardHeader": True}, "insecure"),
    "trusts-only-forwarded": Fault(middleware={"trustForwardHeader": True}),
    "insecure-only": Fault(entry_point="insecure"),
    "raw": Fault(middleware={"authResponseHeaders": _SAFE["authResponseHeaders"][1:]}),
    "identity": Fault(middleware={"authResponseHeaders": ["Authorization"]}),
    "aliases": Fault(entry_point="aliases"),
    "rejects-aliases": Fault(entry_point="rejects"),
    "any": Fault({"PathPrefix(`/`)": "backend"}, entry_point="any"),
    "any-quiet": Fault({"PathPrefix(`/`)": "quiet"}, entry_point="any-quiet"),
    "any-open": Fault({"": "backend", "PathPrefix(`/`)": "open backend"}, entry_point="any-open"),
    "any-open-quiet": Fault({"": "quiet", "PathPrefix(`/`)": "open quiet"}, entry_point="any-open-quiet"),
    "any-admin": Fault({"": "backend", "PathPrefix(`/`)": "open auth"}, entry_point="any-admin"),
    "any-metrics": Fault({"": "backend", "Path(`/metrics`)": "open auth"}, entry_point="any-metrics"),
    "open": Fault({"": "open backend"}),
    "public-admin": Fault({"": "open auth"}),
    "public-auth": Fault({"": "backend", "Host(`HOST`) && Path(`/auth`)": "open auth"}),
    "public-metrics": Fault({"": "backend", "Host(`HOST`) && Path(`/metrics`)": "open auth"}),
    "public-probe": Fault({"": "backend", "Host(`HOST`) && Path(`/livez`)": "open auth"}),
    "public-api": Fault({"": "backend", "Host(`HOST`) && PathPrefix(`/api`)": "open auth"}),
    "open-method": Fault({"": "backend", "Host(`HOST`) && Method(`OPTIONS`)": "open backend"}),
    "open-path": Fault({"": "backend", "Host(`HOST`) && Path(`/healthz`)": "open backend"}),
    "wrong-address": Fault(middleware={"address": "AUTH/livez"}),
    "nobody-home": Fault(middleware={"address": f"http://127.0.0.1:{free_port()}/auth"}),
    "no-credential": Fault(middleware={"authRequestHeaders": ["X-Nothing"]}),
    "redirects": Fault({"": "redirected backend"}),
    "tls": Fault(entry_point="tls"),
}
_ENTRY_POINTS: dict[str, dict[str, Any]] = {
    "insecure": {"forwardedHeaders": {"insecure": True}},
    "aliases": {"http": {_KEPT: "keep"}},
    "rejects": {"http": {_KEPT: "reject"}},
    "tls": {"http": {_KEPT: "delete", "tls": {}}},
}


class FaultyTraefik(Process):
    """Traefik with all of FAULTS, on an entry point for each set of options."""

    name = "traefik"

    def __init__(self, auth: int, backend: int, quiet: int) -> None:
        super().__init__()
        self.ports = {fault.entry_point: free_port() for fault in FAULTS.values()}
        self._places = {
            "auth": f"http://127.0.0.1:{auth}",
            "backend": f"http://127.0.0.1:{backend}",
            "quiet": f"http://127.0.0.1:{quiet}",
        }
        self._write("dynamic.yml", {"http": self._http()})
        self._write("static.yml", self._static())
        binary = Path(sys.executable).with_name("traefik")
        self.argv = [str(binary), f"--configfile={self.dir / 'static.yml'}"]

    def url(self, fault: str, path: str = "") -> str:
        """Return the address of the host with *fault*."""
        entry_point = FAULTS[fault].entry_point
        scheme = "https" if entry_point == "tls" else "http"
        return f"{scheme}://{fault}.localhost:{self.ports[entry_point]}{path}"

    def is_ready(self) -> bool:
        """Return whether all routers are loaded."""
        return call(self.ports["web"], "/", [("Host", "safe.localhost")]).status != 404

    def _static(self) -> dict[str, Any]:
        safe: dict[str, Any] = {"http": {_KEPT: "delete"}}
        return {
            "entryPoints": {
                name: {"address": f"127.0.0.1:{port}", **safe, **_ENTRY_POINTS.get(name, {})}
                for name, port in self.ports.items()
            },
            "providers": {"file": {"filename": str(self.dir / "dynamic.yml"), "watch": False}},
            "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
        }

    def _http(self) -> dict[str, Any]:
        routers: dict[str, Any] = {}
        for name, fault in FAULTS.items():
            for number, (rule, service) in enumerate(fault.routers.items()):
                routers[f"{name}-{number}"] = _router(name, fault, rule or "Host(`HOST`)", service)
        middlewares: dict[str, Any] = {
            name: {"forwardAuth": self._forward_auth(fault)} for name, fault in FAULTS.items()
        }
        middlewares["redirect"] = {"redirectScheme": {"scheme": "https"}}
        services = {name: {"loadBalancer": {"servers": [{"url": url}]}} for name, url in self._places.items()}
        return {"routers": routers, "middlewares": middlewares, "services": services}

    def _forward_auth(self, fault: Fault) -> dict[str, Any]:
        options = _SAFE | {"address": "AUTH/auth"} | fault.middleware
        return options | {"address": options["address"].replace("AUTH", self._places["auth"])}

    def _write(self, name: str, content: dict[str, Any]) -> None:
        (self.dir / name).write_text(json.dumps(content, indent=1))  # because YAML includes JSON


def _router(name: str, fault: Fault, rule: str, service: str) -> dict[str, Any]:
    before, _, target = service.rpartition(" ")
    middlewares = {"open": [], "redirected": ["redirect", name]}.get(before, [name])
    router = {
        "rule": rule.replace("HOST", f"{name}.localhost"),
        "entryPoints": [fault.entry_point],
        "service": target,
        "middlewares": middlewares,
    }
    return router | ({"tls": {}} if fault.entry_point == "tls" else {})
