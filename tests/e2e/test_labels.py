"""The snippets that the pages offer for copying work unchanged with every credential source."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path
from shutil import which
from typing import Any

import pytest

from app.core.credentials import headers, parse_sources
from devkit.backend import Backend, EchoHandler, Seen
from devkit.redis_server import RedisServer
from devkit.service import Gunicorn
from devkit.traefik import EntryPoint, Traefik

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not which("curl"), reason="there is no curl on the PATH"),
]

_LABEL = re.compile(r"^traefik\.http\.middlewares\.token\.forwardauth\.(\w+)=(.*)$", re.MULTILINE)
_FIELD = re.compile(r'<textarea id="(\w+)"[^>]*>\s*(.*?)</textarea>', re.DOTALL)
_SECRET = re.compile(r"acl_[0-9A-Za-z]{38}")
_MODELS = {"object": "list", "data": [{"id": "tiny"}], "models": [{"model": "tiny"}]}
_GIT = "/team/project.git"
_PATHS = ["/", "/v1/models", "/api/tags", f"{_GIT}/info/refs?service=git-upload-pack", f"{_GIT}/HEAD"]
_CLIENTS = Path(sys.prefix) / "clients"  # where `make .venv/.clients` installs


class _ModelHandler(EchoHandler):
    def answer(self, seen: Seen) -> None:
        """Answer with a list of models, as OpenAI and Ollama do."""
        self.server.seen.append(seen)
        body = json.dumps(_MODELS)
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self.wfile.write(f"{head}{body}".encode())


@pytest.fixture(name="models")
def _models() -> Iterator[Backend]:
    with Backend(_ModelHandler) as models:
        yield models


def options(text: str) -> dict[str, Any]:
    """Return the forwardAuth options in the labels in *text*, in the file provider's types."""
    labels = dict(_LABEL.findall(unescape(re.sub(r"</?(mark|code|pre)>", "", text))))
    lists = {name: labels[name].split(",") for name in ("authRequestHeaders", "authResponseHeaders")}
    return lists | {
        "trustForwardHeader": labels["trustForwardHeader"] == "true",
        "maxResponseBodySize": int(labels["maxResponseBodySize"]),
    }


def local(text: str, port: int) -> str:
    """Return a snippet for https://localhost for *port* without TLS."""
    at_port = text.replace("https://localhost", f"http://localhost:{port}")
    return at_port.replace("protocol=https\\nhost=localhost", f"protocol=http\\nhost=localhost:{port}")


def run_curl(command: str) -> str:
    """Run a curl command copied from a page, and return the response status."""
    assert command.startswith("curl ")
    quiet = "curl --noproxy '*' -s -o /dev/null -w '%{http_code}' " + command.removeprefix("curl ")
    return subprocess.run(["sh", "-c", quiet], capture_output=True, check=True, timeout=60).stdout.decode()


def run_git(lines: str, home: Path) -> None:
    """Run lines copied from a page in a new home; the last one fails, because there is no repository."""
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "NO_PROXY": "*", "GIT_TERMINAL_PROMPT": "0"}
    subprocess.run(["sh", "-c", lines], cwd=home, env=env, capture_output=True, check=False, timeout=60)


@pytest.fixture(name="run_python")
def _run_python(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[[str], str]:
    """Return a function that runs Python copied from a page, and returns what it prints."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(_CLIENTS)])
    monkeypatch.setenv("NO_PROXY", "*")

    def run(code: str) -> str:
        pytest.importorskip(code.split()[1])
        names: dict[str, Any] = {}
        exec(code, names)  # noqa: S102 - it is our own
        client = names["client"]
        getattr(client, "close", client._client.close)()
        return capsys.readouterr().out

    return run


@pytest.mark.parametrize(
    "sources",
    [
        *("authorization", "proxy-authorization", "x-api-key", "basic"),
        *("x-api-key,authorization", "basic,proxy-authorization,authorization"),
        *("header:api-key", "header:x-goog-api-key,authorization"),
    ],
)
def test_copied_snippets_work(
    redis_server: RedisServer, models: Backend, run_python: Callable[[str], str], tmp_path: Path, sources: str
) -> None:
    """What is copied opens the backend with each client, and the backend never receives the token."""
    with Gunicorn(redis_server.port, web_concurrency=1, credential_sources=sources) as service:
        copied = dict(_FIELD.findall(unescape(service.post("/create_token", hosts="localhost").text)))
        assert options(copied["traefik"]) == options(service.page().text)
        entry_points = {"web": EntryPoint(options=options(copied["traefik"]))}
        with Traefik(service.port, models.port, entry_points) as traefik:
            ready = {name: local(text, traefik.port) for name, text in copied.items()}
            assert run_curl(ready["curl"]) == "200"
            assert run_curl(_SECRET.sub("wrong", ready["curl"])) == "401"
            assert run_python(ready["openai"]) == "['tiny']\n"
            assert run_python(ready["ollama"]) == "['tiny']\n"
            run_git(ready["git"], tmp_path)

    assert [seen.path for seen in models.seen] == _PATHS
    assert all("X-Auth-Token-Id" in dict(seen.headers) for seen in models.seen)
    accepted = {*headers(parse_sources(sources))}
    assert not [seen for seen in models.seen if accepted & dict(seen.headers).keys()]
    assert not _SECRET.search(str(models.seen))
