"""The snippets that the admin pages offer for copying work unchanged with every credential source."""

from __future__ import annotations

import re
import shlex
import subprocess
from html import unescape
from shutil import which
from typing import Any

import pytest

from app.core.credentials import headers, parse_sources
from devkit.backend import Backend
from devkit.redis_server import RedisServer
from devkit.service import Gunicorn
from devkit.traefik import EntryPoint, Traefik

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not which("curl"), reason="there is no curl on the PATH"),
]

_LABEL = re.compile(r"^traefik\.http\.middlewares\.token\.forwardauth\.(\w+)=(.*)$", re.MULTILINE)
_CURL = re.compile(r'<textarea id="curl"[^>]*>\s*(.*?)</textarea>', re.DOTALL)
_SECRET = re.compile(r"acl_[0-9A-Za-z]{38}")


def options(page: str) -> dict[str, Any]:
    """Return the forwardAuth options in the labels on *page*, in the file provider's types."""
    labels = dict(_LABEL.findall(unescape(re.sub(r"</?(mark|code|pre)>", "", page))))
    lists = {name: labels[name].split(",") for name in ("authRequestHeaders", "authResponseHeaders")}
    return lists | {
        "trustForwardHeader": labels["trustForwardHeader"] == "true",
        "maxResponseBodySize": int(labels["maxResponseBodySize"]),
    }


def run_curl(command: str, port: int) -> str:
    """Run a curl command copied from a page against *port* without TLS, and return the response status."""
    *argv, url = shlex.split(command)
    redirect = [
        "--resolve",
        f"a.test:{port}:127.0.0.1",
        "--noproxy",
        "*",
        "-s",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
    ]
    local_url = url.replace("https://a.test", f"http://a.test:{port}")
    return subprocess.run(
        [*argv, *redirect, local_url], capture_output=True, check=True, timeout=30
    ).stdout.decode()


@pytest.mark.parametrize(
    "sources",
    [
        *("authorization", "proxy-authorization", "x-api-key", "basic"),
        *("x-api-key,authorization", "basic,proxy-authorization,authorization"),
        *("header:api-key", "header:x-goog-api-key,authorization"),
    ],
)
def test_copied_snippets_work(redis_server: RedisServer, backend: Backend, sources: str) -> None:
    """The copied labels and curl command open the backend, and the backend never receives the token."""
    with Gunicorn(redis_server.port, web_concurrency=1, credential_sources=sources) as service:
        page = service.post("/create_token", hosts="a.test").text
        entry_points = {"web": EntryPoint(options=options(service.page().text))}
        with Traefik(service.port, backend.port, entry_points) as traefik:
            command = unescape(_CURL.findall(page)[0])
            assert run_curl(command, traefik.port) == "200"
            assert run_curl(_SECRET.sub("wrong", command), traefik.port) == "401"

    (received,) = backend.seen
    assert "X-Auth-Token-Id" in dict(received.headers)
    assert not {*headers(parse_sources(sources))} & dict(received.headers).keys()
    assert not _SECRET.search(str(received.headers))
