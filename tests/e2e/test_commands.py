"""The commands in README.md and docs/, run as they are printed, on a service of their own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from shutil import which

import pytest

from app.version import VERSION
from devkit.pages import run, script
from devkit.proxies import recipe
from devkit.redis_server import RedisServer
from devkit.service import Gunicorn, record_key

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not which("curl"), reason="there is no curl on the PATH"),
]


@pytest.fixture(name="service", scope="module")
def _service() -> Iterator[Gunicorn]:
    """Return one worker on a Redis of its own, because a command forgets its peppers."""
    options = {"web_concurrency": 1, "trusted_proxies": "private"}  # a documented command restricts networks
    with RedisServer(aof=True) as server, Gunicorn(server.port, **options) as service:
        yield service


def digest(token: str) -> str:
    """Return the SHA-256 by which addresses and forms name *token*."""
    return record_key(token).removeprefix("tokens:")


def failing(commands: str) -> str:
    """Return *commands* with a curl that fails if the answer is an error."""
    return commands.replace("curl -u", "curl -sS --fail-with-body -u")


def test_try_it(service: Gunicorn) -> None:
    """What README.md says to try answers as it says there."""
    commands = script("README.md", "Try it")
    printed = run(commands, service)

    promised = re.findall(r"# (\d{3})$", commands, re.MULTILINE)
    assert re.findall(r"HTTP/1.1 (\d+)", printed) == promised == ["401", "200", "403"]
    assert re.search(r"acl_\w{38}$", printed, re.MULTILINE)
    assert "nightly job" in printed


def test_tokens(service: Gunicorn) -> None:
    """Every command in docs/tokens.md succeeds, and the form that deletes is the last to name the token."""
    token = service.issue("app.example.com", ttl_seconds="86400")  # it is extended
    (service.dir / "token.txt").write_text(service.issue("file.test"))
    (service.dir / "key.txt").write_text("a-key-that-people-have-already\n")
    other = service.issue("other.test")
    printed = run(failing(script("docs/tokens.md")), service, ID=digest(token), OTHER=digest(other))

    assert "file.test" in printed
    assert service.auth(token, "app.example.com").status == 401
    assert service.auth(other, "other.test").status == 401


def test_moving(service: Gunicorn) -> None:
    """Exports, imports, and lists of keys."""
    printed = run(script("docs/moving.md"), service)

    assert [row.split("\t")[1] for row in printed.splitlines()] == ["Ann", "Build", "carol"]


def test_tokens_file(service: Gunicorn) -> None:
    """The commands in docs/tokens-file.md, on the file there, print what the page says."""
    page = "docs/tokens-file.md"
    (service.dir / "tokens.toml").write_text(recipe("The file", "toml", page))
    assert re.fullmatch(r"[0-9a-f]{64}\n", run(script(page, "Try it"), service))

    for step in recipe("Try it", "console", page).split("$ ")[1:]:
        command, _, expected = step.partition("\n")
        assert run(command, service) == expected


def test_version(service: Gunicorn) -> None:
    """The command in docs/troubleshooting.md prints the version."""
    assert run(script("docs/troubleshooting.md"), service) == f"acl-auth-service {VERSION}\n"


def test_audit(service: Gunicorn) -> None:
    """The command in docs/audit.md returns the latest entries."""
    service.issue("audited.test")

    assert '"action":"create"' in run(script("docs/audit.md"), service).replace(" ", "")
