"""The proxies of docs/recipes/ with middlewares that change paths, before and after the sub-request."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from devkit.proxies import Caddy, Change, Envoy, HAProxy, Nginx, Proxy, Traefik, unchanged

PREFIX = "/up"


class Detour(NamedTuple):
    """A proxy and a change of its configuration.

    Clients write *sent* in front of the paths that the backend receives; a token lists them after *listed*.
    """

    name: str
    kind: type[Proxy]
    change: Change = unchanged
    sent: str = ""
    listed: str = ""


class LooseTraefik(Traefik):
    """Traefik that leaves paths as they are."""

    def _write(self, name: str, text: str, more: Mapping[str, str] | None = None) -> Path:
        entry = "aliasHeadersStrategy: delete"
        return super()._write(name, text.replace(entry, f"{entry}\n      sanitizePath: false"), more)


def middlewares(order: str, rule: str) -> Change:
    """Return what adds the middleware *rule* as `path` to README.md's file; `token` is ours."""
    added = f"    path: {{{rule}}}\n    token:\n"
    return lambda text: text.replace("    token:\n", added, 1).replace("[token]", f"[{order}]")


def _traefik(name: str, rule: str) -> list[Detour]:
    """Return Traefik with the middleware *rule*, which removes PREFIX, before ours and after it."""
    return [
        Detour(f"Traefik, {name} before", Traefik, middlewares("path, token", rule), PREFIX),
        Detour(f"Traefik, {name} after", Traefik, middlewares("token, path", rule), PREFIX, PREFIX),
    ]


def _around(text: str) -> str:
    """Put the whole site of Caddy below PREFIX."""
    start = f"\thandle_path {PREFIX}/* {{\n\tforward_auth"
    return text.replace("\tforward_auth", start).rstrip()[:-1] + "}\n}\n"


def _inside(text: str) -> str:
    """Put only the reverse proxy of Caddy below PREFIX."""
    start = f"\thandle_path {PREFIX}/* {{\n\treverse_proxy"
    return text.replace("\treverse_proxy", start).rstrip()[:-1] + "}\n}\n"


def _below(text: str) -> str:
    """Let nginx drop PREFIX by a proxy_pass with a path."""
    return text.replace("location / {", f"location {PREFIX}/ {{").replace(
        "proxy_pass http://ollama:11434;", "proxy_pass http://ollama:11434/;"
    )


PLAIN = [
    *(Detour("Traefik", Traefik), Detour("nginx", Nginx), Detour("Caddy", Caddy)),
    *(Detour("Envoy", Envoy), Detour("HAProxy", HAProxy)),
]
DETOURS = [
    Detour("Traefik, sanitizePath: false", LooseTraefik),
    *_traefik("StripPrefix", f"stripPrefix: {{prefixes: [{PREFIX}]}}"),
    *_traefik("StripPrefixRegex", "stripPrefixRegex: {regex: ['^/[u][p]']}"),
    *_traefik("ReplacePathRegex", f"replacePathRegex: {{regex: '^{PREFIX}/(.*)', replacement: '/$1'}}"),
    Detour("nginx, proxy_pass with a path", Nginx, _below, PREFIX, PREFIX),
    Detour(
        "Caddy, uri strip_prefix",
        Caddy,
        lambda text: text.replace("\tforward_auth", f"\turi strip_prefix {PREFIX}\n\tforward_auth"),
        PREFIX,
    ),
    Detour("Caddy, handle_path around both", Caddy, _around, PREFIX),
    Detour("Caddy, handle_path around reverse_proxy", Caddy, _inside, PREFIX, PREFIX),
]
