"""The audit fails on a known vulnerability, and never takes silence for a clean bill."""

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
    """An OSV service that knows what ``known`` has: ids of advisories by package and release."""

    known: Mapping[str, str] = OLD


class _Query(BaseHTTPRequestHandler):
    server: Advisories

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        package, release = asked["package"], asked["version"]
        name = self.server.known.get(f"{package['name']} {release}")
        body = json.dumps({"vulns": [{"id": name, "affected": [{"package": package}]}]} if name else {})
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def service() -> Iterator[Advisories]:
    """Run a service on a free port."""
    with Advisories(_Query) as server:
        yield server


def audit(port: int, *options: str) -> Any:
    """Run the audit against the service on *port*."""
    environment = {**os.environ, "OSV_URL": f"http://127.0.0.1:{port}/v1/query", "NO_PROXY": "127.0.0.1"}
    command = [sys.executable, str(ROOT / "scripts/audit.py"), *options]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_finding(service: Advisories) -> None:
    """One known vulnerability in one locked package fails the audit, and is named."""
    service.known = OLD | {f"werkzeug {version('werkzeug')}": "NEW-1"}
    done = audit(service.port, "--if-reachable")

    assert done.returncode == 1
    assert "NEW-1" in done.stdout


def test_nothing_known(service: Advisories) -> None:
    """A service that knows old vulnerabilities is believed when it knows none of ours."""
    done = audit(service.port, "--if-reachable")

    assert (done.returncode, done.stdout) == (0, "")


def test_ignorant_service(service: Advisories) -> None:
    """A service that knows nothing at all proves nothing, and that is said."""
    service.known = {}
    done = audit(service.port, "--if-reachable")

    assert done.returncode == 0
    assert done.stdout.startswith("NOT AUDITED")


@pytest.mark.parametrize(("options", "status"), [(["--if-reachable"], 0), ([], 2)])
def test_unreachable_service(options: list[str], status: int) -> None:
    """Without a network the checks go on and say so; who asked for nothing but the audit gets a failure."""
    done = audit(free_port(), *options)

    assert done.returncode == status
    assert done.stdout.startswith("NOT AUDITED")
