"""What the pages of the proxies warn of: what a configuration without a line does, and that ours does not."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, NamedTuple

import pytest

from devkit.backend import Backend, EchoHandler, Seen
from devkit.http import bearer, call
from devkit.ports import free_port
from devkit.programs import program
from devkit.proxies import (
    HOST,
    Caddy,
    Change,
    Envoy,
    EventsBackend,
    HAProxy,
    LabeledTraefik,
    Nginx,
    Proxy,
    Traefik,
)
from devkit.service import Gunicorn

pytestmark = pytest.mark.e2e

OTHER = "wiki.example.com"


class World:
    """What the proxies have behind them, and the tokens of their clients."""

    def __init__(self, service: Gunicorn, auth: dict[str, int], backend: EventsBackend) -> None:
        self.service, self.auth, self.backend = service, auth, backend
        self.token, self.other_token = service.issue(HOST), service.issue(OTHER)


Probe = Callable[[Proxy, World], Any]


class Trap(NamedTuple):
    """A change that makes a configuration naive, what a client tries, and what it gets then and from ours."""

    kind: type[Proxy]
    naive: Change
    probe: Probe
    falls: Any
    holds: Any
    auth: str = "up"


def without(*patterns: str) -> Change:
    """Return a function that removes the matches of *patterns* from a configuration."""
    return lambda config: re.sub("|".join(patterns), "", config)


def replaced(old: str, new: str) -> Change:
    """Return a function that replaces *old* by *new* in a configuration."""
    return lambda config: config.replace(old, new)


def another_host(proxy: Proxy, world: World) -> bool:
    """Return whether a client with a token for another host is let in by naming that host."""
    proxy.call(world.other_token, OTHER)
    return world.backend.hits > 0  # because Caddy answers 200 to hosts that it does not know


def forged_host(proxy: Proxy, world: World) -> bool:
    """Return whether it is let in by claiming that host beside the real one."""
    return proxy.call(world.other_token, headers=[("X-Forwarded-Host", OTHER)]).status == 200


def forged_address(proxy: Proxy, world: World) -> bool:
    """Return whether the proxy reports the address that a client claims as the last one."""
    assert proxy.call(world.token, headers=[("X-Forwarded-For", "203.0.113.7")]).status == 200
    return world.backend.seen[0].fields["x-forwarded-for"].endswith("203.0.113.7")


def our_public_page(proxy: Proxy, _: World) -> bool:
    """Return whether a path that this service answers with 200 opens the backend without a token."""
    return proxy.call(target="/livez").status == 200


def token_at_backend(proxy: Proxy, world: World) -> bool:
    """Return whether the backend receives the token."""
    assert proxy.call(world.token).status == 200
    return world.token in str(world.backend.seen)


def alias_at_backend(proxy: Proxy, world: World) -> bool:
    """Return whether the backend receives an identity that the client made up, under another spelling."""
    assert proxy.call(world.token, headers=[("X_Auth_Email", "forged")]).status == 200
    return "forged" in str(world.backend.seen)


def any_token(proxy: Proxy, _: World) -> tuple[int, str | None]:
    """Return the status and Retry-After for a client whose token only Redis could know."""
    answer = proxy.call("from-an-older-deployment")
    return answer.status, answer.headers.get("retry-after")


def over_limit(proxy: Proxy, world: World) -> tuple[int, bool]:
    """Return the status and whether there is a Retry-After for a client over its rate limit."""
    token = world.service.issue(HOST, rate_limit_max="1", rate_limit_window_sec="600")
    assert proxy.call(token).status == 200
    answer = proxy.call(token)
    return answer.status, "retry-after" in answer.headers


def upload(proxy: Proxy, world: World) -> int:
    """Return the status of an upload of more than a megabyte."""
    return proxy.call(world.token, method="POST", body=b"x" * 1_100_000).status


def by_container_name(proxy: Proxy, _: World) -> int:
    """Return the status of a request without a token to a host that has the name of a container."""
    return proxy.call(host="redis-home").status


_NO_DEFAULT_SERVER = r"server {\n.*default_server;\n.*\n}\n"
_UNMARKED = r".*exact: x-forwarded-(?:method|uri).*\n"
_TRUSTING = "--entryPoints.web.forwardedHeaders.insecure=true"
_INSECURE = ("      - --entryPoints.web.address", f"      - {_TRUSTING}\n      - --entryPoints.web.address")
_HANDED_ON = ('CREDENTIALS = {"authorization"}', 'CREDENTIALS = {"authorization", "x-forwarded-host"}')
_WRITTEN = ('["x-forwarded-host"] = {txn.f:req_hdr("host")},', "")

TRAPS: dict[str, Trap] = {
    "traefik, no host": Trap(
        Traefik, replaced(f"Host(`{HOST}`)", "PathPrefix(`/`)"), another_host, falls=True, holds=False
    ),
    "traefik, token": Trap(
        Traefik,
        replaced("authResponseHeaders: [Authorization, ", "authResponseHeaders: ["),
        token_at_backend,
        falls=True,
        holds=False,
    ),
    "labels, aliases": Trap(
        LabeledTraefik, without(r".*aliasHeadersStrategy.*\n"), alias_at_backend, falls=True, holds=False
    ),
    "labels, trusted clients": Trap(
        LabeledTraefik,
        lambda text: text.replace("Header=false", "Header=true").replace(*_INSECURE),
        forged_host,
        falls=True,
        holds=False,
    ),
    "labels, every container": Trap(
        LabeledTraefik,
        without(r".*exposedByDefault.*\n"),
        by_container_name,
        falls=200,
        holds=404,
    ),
    "caddy, no host": Trap(Caddy, replaced(f"{HOST} {{", " {"), another_host, falls=True, holds=False),
    "caddy, trusted clients": Trap(
        Caddy,
        replaced("uri /auth?", "uri /auth?\ntrusted_proxies private_ranges"),
        forged_host,
        falls=True,
        holds=False,
    ),
    "caddy, token": Trap(Caddy, without(r"\t+header_up -.*\n"), token_at_backend, falls=True, holds=False),
    "nginx, no other server": Trap(Nginx, without(_NO_DEFAULT_SERVER), another_host, falls=True, holds=False),
    "nginx, all headers": Trap(
        Nginx,
        without(r".*(?:pass_request_headers|X-Forwarded-Host).*\n"),
        forged_host,
        falls=True,
        holds=False,
    ),
    "nginx, 429": Trap(
        Nginx, without(r" +error_page.*\n"), over_limit, falls=(500, False), holds=(429, True)
    ),
    "nginx, 503": Trap(
        Nginx, without(r" +error_page.*\n"), any_token, (500, None), (503, "1"), "without Redis"
    ),
    "nginx, token": Trap(
        Nginx, without(r' +proxy_set_header Authorization "";\n'), token_at_backend, falls=True, holds=False
    ),
    "nginx, upload": Trap(Nginx, without(r" +client_max_body_size.*\n"), upload, falls=413, holds=200),
    "envoy, any domain": Trap(
        Envoy, replaced("domains: [", 'domains: ["*", '), another_host, falls=True, holds=False
    ),
    "envoy, no mutation": Trap(
        Envoy, replaced("key: x-forwarded-host", "key: x-other"), forged_host, falls=True, holds=False
    ),
    "envoy, client's path": Trap(
        Envoy, without(r".*path_override.*\n", _UNMARKED), our_public_page, falls=True, holds=False
    ),
    "envoy, client's address": Trap(
        Envoy, without(r".*use_remote_address.*\n"), forged_address, falls=True, holds=False
    ),
    "envoy, token": Trap(
        Envoy,
        replaced("_to_remove: [authorization, ", "_to_remove: ["),
        token_at_backend,
        falls=True,
        holds=False,
    ),
    "envoy, 503": Trap(
        Envoy,
        without(r" +local_reply_config:\n(?: {18}.*\n)+"),
        any_token,
        (503, None),
        (503, "1"),
        "without Redis",
    ),
    "haproxy, all headers": Trap(
        HAProxy,
        lambda text: text.replace(*_HANDED_ON).replace(*_WRITTEN),
        forged_host,
        falls=True,
        holds=False,
    ),
    "haproxy, any host": Trap(
        HAProxy, without(r".*deny_status 421.*\n"), another_host, falls=True, holds=False
    ),
    "haproxy, token": Trap(
        HAProxy, without(r".*del-header Authorization\n"), token_at_backend, falls=True, holds=False
    ),
    "haproxy, redirect": Trap(
        HAProxy, without(r".*deny_status 503.*\n"), any_token, (200, None), (503, None), "redirects"
    ),
}


@pytest.fixture(scope="module", name="world")
def _world(service: Gunicorn) -> Iterator[World]:
    with Backend(_Unavailable) as unavailable, Backend(_Redirects) as redirects, EventsBackend() as backend:
        ports = {"up": service.port, "without Redis": unavailable.port, "redirects": redirects.port}
        yield World(service, ports, backend)


class _Unavailable(EchoHandler):
    def answer(self, _: Seen) -> None:
        """Answer as this service does without Redis."""
        head = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 17\r\n\r\n"
        self.wfile.write(head + b"redis unavailable")


class _Redirects(EchoHandler):
    def answer(self, _: Seen) -> None:
        self.wfile.write(b"HTTP/1.1 302 Found\r\nLocation: https://auth/\r\nContent-Length: 0\r\n\r\n")


@pytest.fixture(scope="module", name="documented")
def _documented(world: World) -> Iterator[Callable[[type[Proxy], str], Proxy]]:
    """Return a function that starts a proxy as documented, once, and returns it."""
    started: dict[tuple[type[Proxy], str], Proxy] = {}
    with ExitStack() as stack:

        def documented(kind: type[Proxy], auth: str) -> Proxy:
            if (kind, auth) not in started:
                proxy = kind(world.auth[auth], world.backend.port)
                started[kind, auth] = stack.enter_context(proxy)
            return started[kind, auth]

        yield documented


@pytest.mark.parametrize("name", TRAPS)
def test_trap(name: str, world: World, documented: Callable[[type[Proxy], str], Proxy]) -> None:
    """Without the line, the configuration fails as its page says; with it, it does not."""
    trap = TRAPS[name]
    program(trap.kind.binary)
    world.backend.seen.clear()
    with trap.kind(world.auth[trap.auth], world.backend.port, trap.naive) as naive:
        assert trap.probe(naive, world) == trap.falls
    world.backend.seen.clear()
    assert trap.probe(documented(trap.kind, trap.auth), world) == trap.holds


@pytest.mark.parametrize(("default", "status"), [("", 200), (" default_server", 421)])
def test_another_port_of_nginx(world: World, default: str, status: int) -> None:
    """On a port without a default server of its own, such as one for TLS, the client chooses the host."""
    program(Nginx.binary)
    port, first, named = free_port(), "listen 80 default_server;", "listen 80;"

    def naive(text: str) -> str:
        text = text.replace(first, f"{first} listen 127.0.0.1:{port}{default};") if default else text
        return text.replace(named, f"{named} listen 127.0.0.1:{port};")

    with Nginx(world.auth["up"], world.backend.port, naive):
        assert call(port, "/", [("Host", OTHER), *bearer(world.other_token)]).status == status


def test_marked_sub_requests(world: World) -> None:
    """The two headers that mark a sub-request hold even where Envoy asks for the client's own path."""
    program(Envoy.binary)
    with Envoy(world.auth["up"], world.backend.port, without(r".*path_override.*\n")) as envoy:
        assert envoy.call(target="/livez").status == 403
