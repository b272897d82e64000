"""The tokens of docs/recipes/: created as the pages say, and used as they say, through a real Traefik."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from app.core.fields import FIELDS
from devkit.backend import Backend, EchoHandler, Seen
from devkit.commands import app_on
from devkit.http import Connection, bearer
from devkit.pages import run
from devkit.process import ROOT
from devkit.proxies import HOST, Traefik, recipe
from devkit.redis_server import RedisServer
from devkit.server import read_body
from devkit.service import PEPPER, Gunicorn, record_key

pytestmark = pytest.mark.e2e

OLLAMA, READ_ONLY = ("docs/recipes/ollama.md", "The token"), ("docs/recipes/tokens.md", "Read only")
PARTNER = ("docs/recipes/tokens.md", "A monthly quota for a partner")
OFFICE = ("docs/recipes/tokens.md", "Only from the office")
RECIPES = (OLLAMA, READ_ONLY, PARTNER, OFFICE)
PAGES = {page: (ROOT / page).read_text("utf-8") for page, _ in RECIPES}
HOSTS = re.findall(r"^\| Hosts \| `(.*)` \|$", "".join(PAGES.values()), re.MULTILINE)
Recipe = tuple[str, str]  # a page and a heading on it
NETWORK, CLIENT = "203.0.113.0/24", "127.0.0.9"
CALLS = {
    "show": 'client.show("m")',
    "ps": "client.ps()",
    "embed": 'client.embed("m", "text")',
    "embeddings": 'client.embeddings("m", "text")',
    "pull": 'client.pull("m")',
    "push": 'client.push("m")',
    "create": 'client.create("m", from_="n")',
    "copy": 'client.copy("m", "n")',
    "delete": 'client.delete("m")',
    "create_blob": 'client.create_blob("/etc/hosts")',
}
ANSWERS: dict[str, list[dict[str, Any]]] = {
    "/api/tags": [{"models": [{"model": "llama3.2"}]}],
    "/api/generate": [{"model": "llama3.2", "response": "Rayleigh scattering"}],
    "/api/chat": [
        {"model": "llama3.2", "message": {"role": "assistant", "content": text}} for text in ("Hi", "!")
    ],
}
needs_sdk = pytest.mark.skipif(
    not (Path(sys.prefix) / ".clients").exists(), reason="the SDKs are not installed: make .venv/.clients"
)


class _OllamaHandler(EchoHandler):
    def answer(self, seen: Seen) -> None:
        """Answer as Ollama does."""
        self.server.seen.append(seen)
        read_body(self.rfile, seen.fields)
        body = "\n".join(map(json.dumps, ANSWERS.get(seen.path, [{}]))).encode()
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


@pytest.fixture(scope="module", name="server")
def _server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="module", name="service")
def _service(server: RedisServer) -> Iterator[Gunicorn]:
    with Gunicorn(server.port, web_concurrency=1, trusted_proxies="127.0.0.1") as service:
        yield service


@pytest.fixture(scope="module", name="ollama")
def _ollama() -> Iterator[Backend]:
    with Backend(_OllamaHandler) as backend:
        yield backend


@pytest.fixture(scope="module", name="traefik")
def _traefik(service: Gunicorn, ollama: Backend) -> Iterator[Traefik]:
    rule = " || ".join(f"Host(`{host}`)" for host in HOSTS)
    with Traefik(service.port, ollama.port, lambda text: text.replace(f"Host(`{HOST}`)", rule)) as traefik:
        yield traefik


@pytest.fixture(name="seen")
def _seen(ollama: Backend) -> list[Seen]:
    """Return the requests that the backend receives during the test."""
    ollama.seen.clear()
    return ollama.seen


@pytest.fixture(scope="module", name="secrets")
def _secrets(service: Gunicorn) -> dict[Recipe, str]:
    """Create the tokens of all recipes with their commands; return the secrets that $TOKEN then has."""
    secrets = {}
    for page, title in RECIPES:
        commands = recipe(title, "sh", page).replace(NETWORK, f"{CLIENT}/32")
        secrets[page, title] = run(f'{commands}\necho; echo "$TOKEN"', service).splitlines()[-1]
    return secrets


def via(traefik: Traefik) -> dict[str, str]:
    """Return variables with which HTTP clients connect to *traefik*, whatever the host."""
    return {"http_proxy": f"http://127.0.0.1:{traefik.port}", "no_proxy": "127.0.0.1"}


def use(which: Recipe, nth: int, service: Gunicorn, traefik: Traefik, **variables: str) -> str:
    """Run the *nth* commands of a recipe through *traefik* and return what they print."""
    page, title = which
    commands = recipe(title, "sh", page, nth).replace("https://", "http://")
    return run(commands, service, **variables, **via(traefik))


def python(code: str, secret: str, traefik: Traefik) -> subprocess.CompletedProcess[str]:
    """Run lines of a client with the SDKs alone."""
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(sys.prefix) / "clients"), **via(traefik)}
    code = code.replace("https://", "http://").replace("acl_…", secret)
    return subprocess.run(
        [sys.executable, "-S", "-c", code], env=env, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("which", RECIPES, ids=lambda which: which[1])
def test_three_ways(service: Gunicorn, secrets: dict[Recipe, str], which: Recipe) -> None:
    """Form, command and API create the same token."""
    page, title = which
    section = PAGES[page].split(f"\n## {title}\n")[1].partition("\n## ")[0].replace(NETWORK, f"{CLIENT}/32")
    rows = dict(re.findall(r"^\| ([A-Z][\w ]*) \| `(.*)` \|$", section, re.MULTILINE))
    form = {field.name: rows.pop(field.label) for field in FIELDS.values() if field.label in rows}
    hosts = form.pop("hosts")
    pair = (secrets[which], service.issue(hosts, **form))
    ids = [record_key(secret).removeprefix("tokens:") for secret in pair]
    listed = service.page(f"/api/v1/tokens?q={hosts}").json()["tokens"]
    by_command, by_form = (service.page(f"/api/v1/tokens/{each}").json() for each in ids)
    by_api = [each for each in listed if each["id"] not in {by_command["id"], by_form["id"]}]

    assert (rows, len(by_api)) == ({}, 1)
    for name in FIELDS.keys() & by_form.keys():
        assert by_form[name] == by_command[name] == by_api[0][name]
        assert bool(by_form[name]) == (name in {"hosts", *form})


@needs_sdk
def test_ollama(secrets: dict[Recipe, str], traefik: Traefik, seen: list[Seen]) -> None:
    """The client lists, generates and chats, and shows why it may not delete."""
    code = recipe("The client", "python", OLLAMA[0])
    done = python(code, secrets[OLLAMA], traefik)

    assert done.stdout.splitlines() == ["['llama3.2']", "Rayleigh scattering", "Hi", "!"]
    assert code.partition("# ")[2] in done.stderr
    assert [each.path for each in seen] == ["/api/tags", "/api/generate", "/api/chat"]


@needs_sdk
def test_calls_of_ollama(
    service: Gunicorn, secrets: dict[Recipe, str], traefik: Traefik, seen: list[Seen]
) -> None:
    """Every other call has the path that the page says, and the token of the recipe opens none of them."""
    table = re.findall(r"^\| (`.*`) \| (`/.*`) \|$", PAGES[OLLAMA[0]], re.MULTILINE)
    calls, paths = (re.findall("`(.*?)`", " ".join(column)) for column in zip(*table, strict=True))
    tries = f"for call in {[CALLS[name] for name in calls]}:\n  try: eval(call)\n"
    start = recipe("The client", "python", OLLAMA[0]).partition("print")[0]
    code = f"{start}{tries}  except Exception as error: print(error)"
    python(code, service.issue("*.example.com"), traefik)
    received = [re.sub("/sha256:.*", "/*", each.path) for each in seen]
    refused = python(code, secrets[OLLAMA], traefik)

    assert (calls, received) == ([*CALLS], paths)
    assert refused.stdout.splitlines() == ["forbidden for path (status code: 403)"] * len(CALLS)
    assert len(seen) == len(CALLS)


def test_read_only(service: Gunicorn, secrets: dict[Recipe, str], traefik: Traefik, seen: list[Seen]) -> None:
    """A token for GET reads and deletes nothing."""
    printed = use(READ_ONLY, 1, service, traefik, TOKEN=secrets[READ_ONLY])

    assert printed.endswith("forbidden for method")
    assert [each.method for each in seen] == ["GET"]


def test_partner(
    server: RedisServer, service: Gunicorn, secrets: dict[Recipe, str], traefik: Traefik
) -> None:
    """The operator sees what is left; the request after the last waits for the first of the next month."""
    redis, secret, key = server.client(), secrets[PARTNER], record_key(secrets[PARTNER])
    assert traefik.call(secret, HOSTS[2]).status == 200
    begin, end, _ = map(int, redis.hget(key, "quota_used").split())
    redis.hset(key, "quota_used", f"{begin} {end} 99999")
    shown = use(PARTNER, 1, service, traefik, ID=key.removeprefix("tokens:"))
    assert traefik.call(secret, HOSTS[2]).status == 200
    latest_s = end - redis.time()[0]
    answer = use(PARTNER, 2, service, traefik, TOKEN=secret).replace("\r", "")
    (wait_s,) = re.findall("Retry-After: (.*)", answer)

    assert re.findall(r'"(used|remaining)":\s*(\d+)', shown) == [("used", "99999"), ("remaining", "1")] * 2
    assert end - redis.time()[0] <= int(wait_s) <= latest_s
    assert {datetime.fromtimestamp(at, UTC).strftime("%d %T") for at in (begin, end)} == {"01 00:00:00"}
    documented = (
        recipe(PARTNER[1], "text", PARTNER[0]).replace("86400", wait_s).replace("2592000", str(end - begin))
    )
    assert {*documented.splitlines()} <= {*answer.splitlines()}


def test_office(secrets: dict[Recipe, str], traefik: Traefik, seen: list[Seen]) -> None:
    """The token opens to clients in its network alone, whatever the others claim."""
    headers = [("Host", HOSTS[3]), *bearer(secrets[OFFICE])]
    answers = []
    for source, more in ((CLIENT, []), ("127.0.0.8", []), ("127.0.0.8", [("X-Forwarded-For", CLIENT)])):
        with Connection(traefik.port, source=source) as connection:
            answers.append(connection.call("/", [*headers, *more]))

    assert [answer.status for answer in answers] == [200, 403, 403]
    assert answers[1].text in recipe(OFFICE[1], "sh", OFFICE[0], 1)
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("page", "hosts"),
    [
        ("openai", [["llm.example.com"]]),
        ("firecrawl", [["firecrawl.example.com"]]),
        ("mcp", [["mcp.example.com"]]),
        ("prometheus", [["app.example.com"], ["metrics.example.com"]]),
        ("browser", [["dashboard.example.com"]]),
    ],
)
def test_other_tokens(server: RedisServer, page: str, hosts: list[list[str]]) -> None:
    """The commands of the other pages create tokens, with what they restrict."""
    text = (ROOT / f"docs/recipes/{page}.md").read_text("utf-8").replace("\\\n", "")
    commands = re.findall(r"--app wsgi tokens (create [^)>\n]*)", text)
    runner = app_on(server, PEPPER=PEPPER).test_cli_runner()
    made = [runner.invoke(args=["tokens", *shlex.split(each), "--json"]) for each in commands]

    assert [json.loads(each.stdout)["hosts"] for each in made] == hosts
