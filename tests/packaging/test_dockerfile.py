"""The image: small, unprivileged, and nothing in it but what runs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from devkit.ports import free_port
from devkit.process import ROOT
from devkit.server import Server

TEXT = (ROOT / "Dockerfile").read_text("utf-8")
LINES = re.sub(r"(?m)^#.*\n", "", TEXT).replace("\\\n", "").splitlines()


def arguments(instruction: str) -> list[str]:
    """Return what follows each *instruction* of the Dockerfile, in order."""
    return [line.split(maxsplit=1)[1] for line in LINES if line.split()[:1] == [instruction]]


class Service(Server):
    """A service that only /livez finds alive, and only while ``status`` is 200."""

    status = 200


class _Livez(BaseHTTPRequestHandler):
    server: Service

    def do_GET(self) -> None:
        self.send_response(self.server.status if self.path == "/livez" else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def service() -> Iterator[Service]:
    """Run a service on a free port."""
    with Service(_Livez) as server:
        yield server


def healthcheck(port: int) -> int:
    """Run the HEALTHCHECK against *port* and return its status."""
    command = json.loads(arguments("HEALTHCHECK")[0].partition("CMD ")[2])
    assert command[0] == "python"
    return subprocess.run(
        [sys.executable, *command[1:]],
        env={"BIND": f"0.0.0.0:{port}"},
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
        check=False,
    ).returncode


def lint(file: Path) -> tuple[int, str]:
    """Return what the linter says of *file*, and its status."""
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, file], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


def test_linter() -> None:
    """The linter has nothing to say."""
    assert lint(ROOT / "Dockerfile") == (0, "")


def test_stages() -> None:
    """What builds and what runs begin with the same slim base, named once, with or without a digest."""
    name, _, base = arguments("ARG")[0].partition("=")

    assert name == "PYTHON_IMAGE"
    assert re.fullmatch(r"python:3\.\d+-slim(@sha256:[0-9a-f]{64})?", base)
    assert arguments("FROM") == ["${PYTHON_IMAGE} AS build", "${PYTHON_IMAGE}"]


def test_pinned_base(tmp_path: Path) -> None:
    """A base that is pinned as CONTRIBUTING.md says pleases the linter as well."""
    line = "ARG PYTHON_IMAGE=python:3.13-slim"
    assert f"{line}@sha256:" in (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    (tmp_path / "Dockerfile").write_text(re.sub(f"{line}.*", f"{line}@sha256:{'0' * 64}", TEXT))

    assert lint(tmp_path / "Dockerfile") == (0, "")


def test_install() -> None:
    """Only wheels that the lock names are installed: no build tool is fetched that it does not name."""
    (install,) = [run for run in arguments("RUN") if "pip --python" in run]

    assert " --require-hashes --only-binary :all: --requirement requirements.txt" in install


def test_user() -> None:
    """The user is a number, so that Kubernetes sees it is not root, and too high for one of the host's."""
    assert all(int(part) >= 10_000 for part in arguments("USER")[-1].split(":"))


def test_command() -> None:
    """Process 1 is gunicorn, with no shell between it and SIGTERM."""
    assert json.loads(arguments("CMD")[-1]) == ["gunicorn", "-c", "gunicorn.conf.py", "wsgi:app"]


def test_contents() -> None:
    """Only what runs is copied, and the build context has no more than that: .env can't slip in."""
    copied = {
        name for line in arguments("COPY") if not line.startswith("--from") for name in line.split()[:-1]
    }
    ignore = (ROOT / ".dockerignore").read_text("utf-8").splitlines()

    assert copied == {"requirements.txt", "app", "wsgi.py", "gunicorn.conf.py"}
    assert next(line for line in ignore if not line.startswith("#")) == "*"
    assert {line[1:] for line in ignore if line.startswith("!")} == copied


def test_labels() -> None:
    """The image says in OCI's words what it is and under which license."""
    title, version = 'org.opencontainers.image.title="acl-auth-service"', 'image.version="${VERSION}"'

    assert title in arguments("LABEL")[0]
    assert version in arguments("LABEL")[0]
    assert 'licenses="MIT"' in arguments("LABEL")[0]


@pytest.mark.parametrize(("status", "unhealthy"), [(200, 0), (503, 1)])
def test_healthcheck(service: Service, status: int, unhealthy: int) -> None:
    """The container is healthy exactly while /livez says so, on whatever port the service listens."""
    service.status = status

    assert healthcheck(service.port) == unhealthy


def test_healthcheck_of_nothing() -> None:
    """Where nobody listens, nobody is healthy."""
    assert healthcheck(free_port()) != 0
