"""``make audit`` fails on a known vulnerability, and reports it if the database cannot be trusted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler
from importlib.metadata import version
from typing import Any

import pytest

from devkit.ports import free_port
from devkit.process import ROOT
from devkit.server import Server

OLD = {"jinja2 2.4.1": "OLD-1"}


class Advisories(Server):
    """A fake OSV service whose ``known`` maps package and release to an advisory id."""

    known: Mapping[str, str] = OLD


class _Query(BaseHTTPRequestHandler):
    server: Advisories

    def do_POST(self) -> None:
        query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        package, release = query["package"], query["version"]
        name = self.server.known.get(f"{package['name']} {release}")
        body = json.dumps({"vulns": [{"id": name, "affected": [{"package": package}]}]} if name else {})
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        """Suppress the request log."""


@pytest.fixture
def service() -> Iterator[Advisories]:
    """Run the fake service on a free port."""
    with Advisories(_Query) as server:
        yield server


def audit(port: int, *options: str) -> Any:
    """Run the audit against the service on *port*."""
    environment = {**os.environ, "OSV_URL": f"http://127.0.0.1:{port}/v1/query", "NO_PROXY": "127.0.0.1"}
    command = [sys.executable, str(ROOT / "scripts/audit.py"), *options]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_known_vulnerability(service: Advisories) -> None:
    """A known vulnerability in any locked package fails the audit and is named."""
    service.known = OLD | {f"werkzeug {version('werkzeug')}": "NEW-1", "openai 1.109.1": "NEW-2"}
    done = audit(service.port, "--if-reachable")

    assert done.returncode == 1
    assert "NEW-1" in done.stdout
    assert "NEW-2" in done.stdout


def test_nothing_known(service: Advisories) -> None:
    """The audit passes if the service knows old vulnerabilities, but none of the locked packages."""
    done = audit(service.port, "--if-reachable")

    assert (done.returncode, done.stdout) == (0, "")


def test_ignorant_service(service: Advisories) -> None:
    """A service that does not even know an old vulnerability proves nothing, and the audit says so."""
    service.known = {}
    done = audit(service.port, "--if-reachable")

    assert done.returncode == 0
    assert done.stdout.startswith("NOT AUDITED")


@pytest.mark.parametrize(("options", "status"), [(["--if-reachable"], 0), ([], 2)])
def test_unreachable_service(options: list[str], status: int) -> None:
    """Without a network, the checks continue with a message, while an explicit audit fails."""
    done = audit(free_port(), *options)

    assert done.returncode == status
    assert done.stdout.startswith("NOT AUDITED")
