"""SDKs behind a real Traefik: the programs of docs/recipes/, and what they show when a request is refused."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from devkit.backend import Backend, EchoHandler, Seen
from devkit.ports import free_port
from devkit.process import ROOT
from devkit.proxies import recipe
from devkit.redis_server import RedisServer
from devkit.server import read_body
from devkit.service import Gunicorn
from devkit.traefik import Traefik

# Where `make .venv/.clients` installs: two versions of one package can't share a directory.
SITES = {
    "clients": ("openai", "litellm", "ollama", "firecrawl-py", "mcp", "mcp with the hook"),
    "openai1": ("openai",),
}
REASONS = ("missing bearer token", "invalid token", "forbidden for host", "rate limit exceeded")
FORMATS = ("text", "json")
PAGES = ("openai", "ollama", "firecrawl", "mcp")
PROGRAMS = {
    "openai": ("docs/recipes/openai.md", 0),
    "litellm": ("docs/recipes/openai.md", 1),
    "firecrawl": ("docs/recipes/firecrawl.md", 0),
    "mcp": ("docs/recipes/mcp.md", 1),
}

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(300),  # the first run compiles the SDKs
    pytest.mark.skipif(
        not (Path(sys.prefix) / ".clients").exists(),
        reason="the SDKs are not installed: make .venv/.clients",
    ),
]

Reports = Mapping[tuple[str, str, str], str]  # by client with its version, format and reason


class Ran(NamedTuple):
    """What the SDKs reported, what the documented programs printed, and how many requests they sent."""

    reports: Reports
    printed: dict[str, str]
    requests: dict[str, int]


class _ApiHandler(EchoHandler):
    def answer(self, seen: Seen) -> None:
        """Answer as OpenAI and Firecrawl do."""
        asked = read_body(self.rfile, seen.fields)
        self.server.seen.append(seen)
        if b'"stream":true' in asked:
            chunks = (
                _completion("chat.completion.chunk", delta={"content": text}) for text in ("Good", " day")
            )
            self._send("".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n")
        else:
            self._send(json.dumps(self._found(seen.path)))

    def _found(self, path: str) -> object:
        looks = [each.path for each in self.server.seen].count("/v2/crawl/7")
        page, message = {"markdown": "# Example"}, {"role": "assistant", "content": "Hello"}
        state = {"status": "scraping" if looks == 1 else "completed", "total": 1, "completed": 1}
        return {
            "/v1/models": {"object": "list", "data": [{"id": "llama3.2", "object": "model"}]},
            "/v1/chat/completions": _completion("chat.completion", message=message),
            "/v2/scrape": {"success": True, "data": page},
            "/v2/crawl": {"success": True, "id": "7", "url": "/v2/crawl/7"},
            "/v2/crawl/7": {"success": True, "data": [page], **state},
        }[path]

    def _send(self, text: str) -> None:
        kind = "text/event-stream" if text.startswith("data:") else "application/json"
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(text)}\r\n\r\n"
        self.wfile.write(f"{head}{text}".encode())


def _completion(kind: str, **content: object) -> dict[str, object]:
    choice = {"index": 0, "finish_reason": "stop", **content}
    return {"id": "1", "object": kind, "created": 1, "model": "llama3.2", "choices": [choice]}


@pytest.fixture(scope="module", name="ran")
def _ran(redis_server: RedisServer) -> Ran:
    """Run every client for every reason in every format, and then the programs of the pages."""
    mcp_port = free_port()
    with ExitStack() as stack:
        api = stack.enter_context(Backend(_ApiHandler))
        services = [_deployment(stack, redis_server, name) for name in FORMATS]
        traefiks = [stack.enter_context(Traefik(each.port, api.port)) for each in services]
        refused = [each for pair in zip(services, traefiks, strict=True) for each in _refused(*pair)]
        ports = dict.fromkeys(PROGRAMS, traefiks[1].port)
        ports["mcp"] = stack.enter_context(Traefik(services[1].port, mcp_port)).port
        secrets = {name: services[1].issue("*.example.com") for name in PROGRAMS}
        programs = {name: _program(name, port, secrets[name]) for name, port in ports.items()}
        served = {"server": _slow_server(mcp_port), "port": mcp_port}
        old = _run("openai1", {"requests": refused, "programs": {}})
        new = _run("clients", {"requests": refused, "programs": programs, **served})
        reports = [*_reports("openai1", old["reports"]), *_reports("clients", new["reports"])]
        requests = {name: services[1].allowed(secret) for name, secret in secrets.items()}
        return Ran(dict(reports), new["printed"], requests)


def _deployment(stack: ExitStack, redis_server: RedisServer, refusal_format: str) -> Gunicorn:
    options = {"web_concurrency": 1, "refusal_format": refusal_format}
    return stack.enter_context(Gunicorn(redis_server.port, **options))


def _refused(service: Gunicorn, traefik: Traefik) -> list[tuple[str, str | None]]:
    """Return the URL of a deployment with the secrets, or None, that it refuses for each of REASONS."""
    spent = service.issue("127.0.0.1", rate_limit_max="1", rate_limit_window_sec="86400")
    assert traefik.call(spent, "127.0.0.1", target="/v1/models").status == 200
    secrets = (None, "unknown-token", service.issue("other.test"), spent)
    return [(f"http://127.0.0.1:{traefik.port}", secret) for secret in secrets]


def _program(name: str, port: int, secret: str) -> str:
    """Return the Python of a page with a token, which reaches a proxy by the documented name."""
    code = recipe("", "python", *PROGRAMS[name]).replace("acl_…", secret)
    return f"import os\nos.environ['http_proxy'] = 'http://127.0.0.1:{port}'\n" + code.replace(
        "https://", "http://"
    )


def _slow_server(port: int) -> str:
    """Return the MCP server of the page, whose tool takes longer than a client of httpx2 waits by default."""
    code = recipe("", "python", "docs/recipes/mcp.md").replace("0.0.0.0", "127.0.0.1")
    return code.replace("9000", str(port)).replace("return", "__import__('time').sleep(6)\n    return")


def _run(site: str, given: Mapping[str, object]) -> Any:
    """Send requests with every client in *site*, in a process that sees no package of the tests."""
    argv = [sys.executable, "-S", "-m", "devkit.drills.sdks", *SITES[site]]
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(sys.prefix) / site), "no_proxy": "127.0.0.1"}
    done = subprocess.run(
        argv, cwd=ROOT, env=env, input=json.dumps(given), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])  # servers print before it


def _reports(site: str, reports: Mapping[str, list[str]]) -> Iterator[tuple[tuple[str, str, str], str]]:
    cases = [(name, reason) for name in FORMATS for reason in REASONS]
    for client, texts in reports.items():
        for (name, reason), text in zip(cases, texts, strict=True):
            yield (_versioned(client, site), name, reason), text


def _versioned(client: str, site: str) -> str:
    """Return *client* with the version that is locked for *site*."""
    package, _, rest = client.partition(" ")
    lock = (ROOT / f"requirements-{site}.in").read_text("utf-8")
    version = re.search(rf"^{package}==(.*)$", lock, re.MULTILINE)
    assert version
    return f"{package} {version[1]} {rest}".rstrip()


def test_json_shows_the_reason(ran: Ran) -> None:
    """With JSON every exception contains the reason, except for mcp without the hook.

    The SDKs for OpenAI's API send no request without a secret.
    """
    hidden = {
        (re.sub(" [0-9.]+", "", client), reason)
        for (client, name, reason), text in ran.reports.items()
        if name == "json" and reason not in text
    }
    unsent = {(client, "missing bearer token") for client in ("openai", "litellm")}

    assert hidden == unsent | {("mcp", reason) for reason in REASONS}


def test_documented_texts(ran: Ran) -> None:
    """The pages quote what each client shows for an unknown token in either format."""
    text = "".join((ROOT / f"docs/recipes/{name}.md").read_text("utf-8") for name in PAGES)
    rows = re.findall(r"^\| (\w[^|`]* [0-9][^|`]*) \| `([^`]*)` \| `([^`]*)` \|$", text, re.MULTILINE)
    clients = dict.fromkeys(client for client, _, _ in ran.reports)

    assert sorted(rows) == sorted(
        (client, *(ran.reports[client, name, "invalid token"] for name in FORMATS)) for client in clients
    )


def test_firecrawl_names_a_403(ran: Ran) -> None:
    """Whatever the reason of a 403, firecrawl-py has one name for it."""
    (text,) = (
        text
        for (client, name, reason), text in ran.reports.items()
        if client.startswith("firecrawl") and (name, reason) == ("text", "forbidden for host")
    )

    assert "Website Not Supported" in text


def test_documented_hook() -> None:
    """The hook that docs/recipes/mcp.md shows is the one that the tests use."""
    program = recipe("", "python", *PROGRAMS["mcp"])
    (hook,) = re.findall(r"^async def raise_refusal.*?(?=\n\n\n)", program, re.DOTALL | re.MULTILINE)

    assert hook in (ROOT / "devkit/drills/sdks.py").read_text("utf-8")


@pytest.mark.parametrize(
    ("name", "lines", "requests"),
    [
        ("openai", ["['llama3.2']", "Hello", "Good", " day"], 3),
        ("litellm", ["Hello"], 1),
        ("firecrawl", ["# Example", "['# Example']"], 1 + 1 + 2),
        ("mcp", ["['add']", "3"], 6),
    ],
)
def test_documented_programs(ran: Ran, name: str, lines: list[str], requests: int) -> None:
    """With a token the programs of the pages do what they say, with as many requests as the page counts."""
    assert ran.printed[name].splitlines() == lines
    assert ran.requests[name] == requests
