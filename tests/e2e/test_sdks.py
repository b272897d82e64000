"""What SDKs show when a request is refused, behind a real Traefik; docs/clients.md quotes it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from devkit.backend import Backend
from devkit.process import ROOT
from devkit.redis_server import RedisServer
from devkit.service import Gunicorn
from devkit.traefik import Traefik

# Where `make .venv/.clients` installs: two versions of one package can't share a directory.
SITES = {
    "clients": ("openai", "litellm", "ollama", "firecrawl-py", "mcp", "mcp with the hook"),
    "openai1": ("openai",),
}
REASONS = ("missing bearer token", "invalid token", "forbidden for host", "rate limit exceeded")
FORMATS = ("text", "json")

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(300),  # the first run compiles the SDKs
    pytest.mark.skipif(
        not (Path(sys.prefix) / ".clients").exists(),
        reason="the SDKs are not installed: make .venv/.clients",
    ),
]

Reports = Mapping[tuple[str, str, str], str]  # by client with its version, format and reason


@pytest.fixture(scope="module", name="reports")
def _reports(redis_server: RedisServer, echo: Backend) -> Reports:
    """Return what every client reports for every reason in every format."""
    with ExitStack() as stack:
        requests = [each for name in FORMATS for each in _refused(stack, redis_server, echo, name)]
        return {key: text for site in SITES for key, text in _run(site, requests)}


def _refused(
    stack: ExitStack, redis_server: RedisServer, echo: Backend, refusal_format: str
) -> list[tuple[str, str | None]]:
    """Return the URL of a new deployment with the secrets, or None, that it refuses for each of REASONS."""
    service = stack.enter_context(
        Gunicorn(redis_server.port, web_concurrency=1, refusal_format=refusal_format)
    )
    traefik = stack.enter_context(Traefik(service.port, echo.port))
    spent = service.issue("127.0.0.1", rate_limit_max="1", rate_limit_window_sec="86400")
    assert traefik.call(spent, "127.0.0.1").status == 200
    secrets = (None, "unknown-token", service.issue("other.test"), spent)
    return [(f"http://127.0.0.1:{traefik.port}", secret) for secret in secrets]


def _run(site: str, requests: Sequence[tuple[str, str | None]]) -> Iterator[tuple[tuple[str, str, str], str]]:
    """Send *requests* with every client in *site*, in a process that sees no package of the tests."""
    argv = [sys.executable, "-S", "-m", "devkit.drills.sdks", *SITES[site]]
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(sys.prefix) / site)}
    done = subprocess.run(
        argv, cwd=ROOT, env=env, input=json.dumps(requests), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    cases = [(name, reason) for name in FORMATS for reason in REASONS]
    for client, texts in json.loads(done.stdout).items():
        for (name, reason), text in zip(cases, texts, strict=True):
            yield (_versioned(client, site), name, reason), text


def _versioned(client: str, site: str) -> str:
    """Return *client* with the version that is locked for *site*."""
    package, _, rest = client.partition(" ")
    lock = (ROOT / f"requirements-{site}.in").read_text("utf-8")
    version = re.search(rf"^{package}==(.*)$", lock, re.MULTILINE)
    assert version
    return f"{package} {version[1]} {rest}".rstrip()


def test_json_shows_the_reason(reports: Reports) -> None:
    """With JSON every exception contains the reason, except for mcp without the hook.

    The SDKs for OpenAI's API send no request without a secret.
    """
    hidden = {
        (re.sub(" [0-9.]+", "", client), reason)
        for (client, name, reason), text in reports.items()
        if name == "json" and reason not in text
    }
    unsent = {(client, "missing bearer token") for client in ("openai", "litellm")}

    assert hidden == unsent | {("mcp", reason) for reason in REASONS}


def test_documented_texts(reports: Reports) -> None:
    """docs/clients.md quotes what each client shows for an unknown token in either format."""
    text = (ROOT / "docs/clients.md").read_text("utf-8")
    rows = re.findall(r"^\| (\w[^|`]* [0-9][^|`]*) \| `([^`]*)` \| `([^`]*)` \|$", text, re.MULTILINE)
    clients = dict.fromkeys(client for client, _, _ in reports)

    assert rows == [
        (client, *(reports[client, name, "invalid token"] for name in FORMATS)) for client in clients
    ]


def test_documented_hook() -> None:
    """The hook that docs/clients.md shows is the one that the tests use."""
    (shown,) = re.findall(
        r"```python\n(async def .*?)\n\n", (ROOT / "docs/clients.md").read_text("utf-8"), re.DOTALL
    )

    assert shown in (ROOT / "devkit/drills/sdks.py").read_text("utf-8")
