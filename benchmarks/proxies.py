"""The proxies in front of the contenders, each with one process for each contender except Traefik."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from benchmarks.fill import HOST
from benchmarks.lineup import Nginx, Terms
from devkit.proxies import Caddy, Envoy, Nginx as NginxProxy, Proxy
from devkit.traefik import EntryPoint, Traefik

TRAEFIK = "traefik"
OTHERS: Mapping[str, type[Proxy]] = {kind.name: kind for kind in (Caddy, NginxProxy, Envoy)}
TITLES = {TRAEFIK: "Traefik", "caddy": "Caddy", "nginx": "nginx", "envoy": "Envoy"}


@dataclass(frozen=True)
class Behind:
    """Where a contender is reached through a proxy, and the proxy's process."""

    port: int
    pid: int


def start(stack: ExitStack, auth_ports: Mapping[str, int], kind: str) -> dict[str, Behind]:
    """Start the proxies of one kind in front of all contenders, with a backend that answers 200."""
    backend = stack.enter_context(Nginx(Terms())).port
    if kind == TRAEFIK:
        traefik = stack.enter_context(_traefik(auth_ports, backend))
        return {name: Behind(port, traefik.pid) for name, port in traefik.ports.items()}
    proxies = {
        name: stack.enter_context(OTHERS[kind](port, backend, host=HOST)) for name, port in auth_ports.items()
    }
    return {name: Behind(proxy.port, proxy.pid) for name, proxy in proxies.items()}


def missing(kind: str) -> str:
    """Return why this kind of proxy cannot be started, "" if it can."""
    return "" if kind == TRAEFIK or OTHERS[kind].path() else f"not installed: {kind}"


def _traefik(auth_ports: Mapping[str, int], backend: int) -> Traefik:
    entry_points = {
        name: EntryPoint(address=f"http://127.0.0.1:{port}/auth") for name, port in auth_ports.items()
    }
    return Traefik(next(iter(auth_ports.values())), backend, entry_points, log_level="ERROR")
