"""What the pages tell an operator to copy, used as it stands, for every place that a token may come in."""

from __future__ import annotations

import re
import shlex
import subprocess
from html import unescape
from shutil import which
from typing import Any

import pytest

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
    """Return the options of the labels on *page* as the file provider takes them."""
    labels = dict(_LABEL.findall(unescape(re.sub(r"</?(mark|code|pre)>", "", page))))
    lists = {name: labels[name].split(",") for name in ("authRequestHeaders", "authResponseHeaders")}
    return lists | {
        "trustForwardHeader": labels["trustForwardHeader"] == "true",
        "maxResponseBodySize": int(labels["maxResponseBodySize"]),
    }


def run_curl(line: str, port: int) -> str:
    """Run the printed *line*, led to *port* without TLS, and return the status that it got."""
    *argv, url = shlex.split(line)
    led = [
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
    here = url.replace("https://a.test", f"http://a.test:{port}")
    return subprocess.run([*argv, *led, here], capture_output=True, check=True, timeout=30).stdout.decode()


@pytest.mark.parametrize(
    "sources",
    [
        *("authorization", "proxy-authorization", "x-api-key", "basic"),
        *("x-api-key,authorization", "basic,proxy-authorization,authorization"),
    ],
)
def test_copied(redis_server: RedisServer, backend: Backend, sources: str) -> None:
    """The labels and the curl line of the pages open the backend, and the token does not reach it."""
    with Gunicorn(redis_server.port, web_concurrency=1, credential_sources=sources) as service:
        made = service.post("/create_token", hosts="a.test").text
        entry_points = {"web": EntryPoint(options=options(service.page().text))}
        with Traefik(service.port, backend.port, entry_points) as traefik:
            line = unescape(_CURL.findall(made)[0])
            assert run_curl(line, traefik.port) == "200"
            assert run_curl(_SECRET.sub("wrong", line), traefik.port) == "401"

    (seen,) = backend.seen
    assert "X-Auth-Token-Id" in dict(seen.headers)
    assert not {"Authorization", "Proxy-Authorization", "X-Api-Key"} & dict(seen.headers).keys()
