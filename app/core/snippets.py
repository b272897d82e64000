"""Ready lines for clients and proxies, which follow the credential sources that the service accepts."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from shlex import quote
from typing import NamedTuple

from app.core import credentials
from app.core.credentials import IDENTITY_HEADERS, SOURCES, USER, Source
from app.core.fields import TokenSpec
from app.core.hosts import ANY

_BEARER, _BASIC = SOURCES["authorization"], SOURCES["basic"]

ROUTER, SERVICE = "app", "http://acl-auth-service:8000"
LABELS = """\
traefik.http.routers.{router}.middlewares=token
traefik.http.middlewares.token.forwardauth.address={service}/auth
traefik.http.middlewares.token.forwardauth.trustForwardHeader=false
traefik.http.middlewares.token.forwardauth.authRequestHeaders={credentials}
traefik.http.middlewares.token.forwardauth.maxResponseBodySize=4096
traefik.http.middlewares.token.forwardauth.authResponseHeaders={credentials},{identity}"""
LABELS_HINT = (
    "Replace `app` by the name of the backend's router, and `http://acl-auth-service:8000` by the address at "
    "which Traefik reaches this service. In Traefik's static configuration, set "
    "`http.aliasHeadersStrategy: delete` on each entry point, or a client can forge these headers with "
    "underscores."
)


class Snippet(NamedTuple):
    """What to copy for one client, and a hint in Markdown; *text* is empty if it can't send the secret."""

    name: str
    title: str
    text: str
    hint: str


def snippets(sources: Sequence[Source], secret: str, spec: TokenSpec) -> tuple[Snippet, ...]:
    """Return a snippet for each client, with *secret* and a host that *spec* covers."""
    host = example_host(spec.hosts)
    curl = credentials.curl(sources, secret, *_first_request(spec, host))
    return (
        Snippet("curl", "curl", curl, "Run it in a shell."),
        *(Snippet(name, title, *make(sources, secret, host)) for name, title, make in _CLIENTS),
        Snippet("traefik", "Traefik labels", labels(sources, ROUTER, SERVICE), LABELS_HINT),
    )


def labels(sources: Sequence[Source], router: str, service: str, text: str = LABELS) -> str:
    """Return the Docker labels that protect the backend of *router*, with the headers that *sources* read."""
    names = ",".join(credentials.headers(sources))
    identity = ",".join(IDENTITY_HEADERS)
    return text.format(router=router, service=service, credentials=names, identity=identity)


def example_host(hosts: Sequence[str]) -> str:
    """Return a host that the first of *hosts* covers."""
    pattern = hosts[0] if hosts else ANY
    return "example.com" if pattern == ANY else pattern.replace("*.", "app.", 1)


def _first_request(spec: TokenSpec, host: str) -> tuple[str, str]:
    """Return the address and the method of a request that *spec* allows."""
    path = spec.paths[0].removesuffix("*") if spec.paths else "/"
    method = "GET" if "GET" in spec.methods or not spec.methods else spec.methods[0]
    return f"https://{host}{path}", method


def _preferred(sources: Sequence[Source], *wanted: Source) -> Source:
    """Return the first of *wanted* that is accepted, else the first of *sources*."""
    return next((source for source in wanted if source in sources), sources[0])


def _headers(source: Source, secret: str) -> str:
    """Return the header that carries *secret* as a dictionary, which Python and JSON write alike."""
    return json.dumps({source.header: source.write(secret)})


def _openai(sources: Sequence[Source], secret: str, host: str) -> tuple[str, str]:
    # The client always sends Authorization, which must not be a second, bad credential.
    source = _preferred(sources, _BEARER, _BASIC)
    login = (
        f'api_key="{secret}"'
        if source is _BEARER
        else f'api_key="-", default_headers={_headers(source, secret)}'
    )
    text = (
        "from openai import OpenAI\n\n"
        f'client = OpenAI(base_url="https://{host}/v1", {login})\n'
        "print([model.id for model in client.models.list()])"
    )
    more = (
        f" Other programs read `OPENAI_BASE_URL=https://{host}/v1` and `OPENAI_API_KEY`."
        if source is _BEARER
        else ""
    )
    return text, f"The package `openai`.{more}"


def _ollama(sources: Sequence[Source], secret: str, host: str) -> tuple[str, str]:
    source = _preferred(sources, _BEARER)
    text = (
        "import ollama\n\n"
        f'client = ollama.Client("https://{host}", headers={_headers(source, secret)})\n'
        "print([model.model for model in client.list().models])"
    )
    more = f" It also reads `OLLAMA_HOST=https://{host}` and `OLLAMA_API_KEY`." if source is _BEARER else ""
    return text, f"The Python package `ollama`.{more}"


def _git(sources: Sequence[Source], secret: str, host: str) -> tuple[str, str]:
    source = _preferred(sources, _BASIC)
    clone = f"git clone https://{host}/team/project.git"
    if source is _BASIC:
        stored = f"protocol=https\\nhost={host}\\nusername={USER}\\npassword={secret}\\n"
        lines = (
            f"git config --global credential.https://{host}.helper store",
            f"printf '{stored}' | git credential approve",
        )
        return "\n".join((*lines, clone)), "Git keeps the secret in `~/.git-credentials`."
    header = quote(f"{source.header}: {source.write(secret)}")
    line = f"git config --global http.https://{host}/.extraHeader {header}"
    return f"{line}\n{clone}", "Git keeps the secret in `~/.gitconfig` and sends it to this host alone."


def _prometheus(sources: Sequence[Source], secret: str, host: str) -> tuple[str, str]:
    usable = [source for source in sources if source.header != "Proxy-Authorization"]
    if not usable:
        return "", "Prometheus can't send `Proxy-Authorization`. Add `authorization` to `CREDENTIAL_SOURCES`."
    source = _preferred(usable, _BEARER, _BASIC)
    login, hint = _prometheus_login(source, secret)
    text = (
        f'scrape_configs:\n  - job_name: "{host}"\n    scheme: https\n{login}'
        f'    static_configs:\n      - targets: ["{host}"]'
    )
    return text, f"In `prometheus.yml`.{hint}"


def _prometheus_login(source: Source, secret: str) -> tuple[str, str]:
    if source is _BEARER:
        return f'    authorization:\n      credentials: "{secret}"\n', ""
    if source is _BASIC:
        return f'    basic_auth:\n      username: {USER}\n      password: "{secret}"\n', ""
    header = f'    http_headers:\n      {json.dumps(source.header)}:\n        secrets: ["{secret}"]\n'
    return header, " It needs Prometheus 2.55 or later."


Maker = Callable[[Sequence[Source], str, str], tuple[str, str]]
_CLIENTS: Sequence[tuple[str, str, Maker]] = (
    ("openai", "Python openai", _openai),
    ("ollama", "Ollama", _ollama),
    ("git", "git", _git),
    ("prometheus", "Prometheus", _prometheus),
)
