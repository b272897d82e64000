"""The image is small, unprivileged and contains only what runs."""

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
    """Return the arguments of each *instruction* in the Dockerfile, in order."""
    return [line.split(maxsplit=1)[1] for line in LINES if line.split()[:1] == [instruction]]


class Service(Server):
    """A fake service whose /livez answers with ``status``."""

    status = 200


class _Livez(BaseHTTPRequestHandler):
    server: Service

    def do_GET(self) -> None:
        self.send_response(self.server.status if self.path == "/livez" else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Suppress the request log."""


@pytest.fixture
def service() -> Iterator[Service]:
    """Run the fake service on a free port."""
    with Service(_Livez) as server:
        yield server


def healthcheck(port: int) -> int:
    """Run the HEALTHCHECK against *port*, and return its exit status."""
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
    """Return the exit status and the output of the linter for *file*."""
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, file], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


def test_linter() -> None:
    """The linter finds nothing."""
    assert lint(ROOT / "Dockerfile") == (0, "")


def test_stages() -> None:
    """Both stages use the same slim base image, named once, with or without a digest."""
    name, _, base = arguments("ARG")[0].partition("=")

    assert name == "PYTHON_IMAGE"
    assert re.fullmatch(r"python:3\.\d+-slim(@sha256:[0-9a-f]{64})?", base)
    assert arguments("FROM") == ["${PYTHON_IMAGE} AS build", "${PYTHON_IMAGE}"]


def test_pinned_base(tmp_path: Path) -> None:
    """The linter also accepts a base image pinned in the way that CONTRIBUTING.md describes."""
    line = "ARG PYTHON_IMAGE=python:3.13-slim"
    assert f"{line}@sha256:" in (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    (tmp_path / "Dockerfile").write_text(re.sub(f"{line}.*", f"{line}@sha256:{'0' * 64}", TEXT))

    assert lint(tmp_path / "Dockerfile") == (0, "")


def test_install() -> None:
    """Only locked wheels are installed, so that no unlocked build tool is fetched."""
    (install,) = [run for run in arguments("RUN") if "pip --python" in run]

    assert " --require-hashes --only-binary :all: --requirement requirements.txt" in install


def test_user() -> None:
    """The user is numeric, so that Kubernetes can verify it is not root, and above the host's own ids."""
    assert all(int(part) >= 10_000 for part in arguments("USER")[-1].split(":"))


def test_command() -> None:
    """Process 1 is gunicorn, with no shell in between to swallow SIGTERM."""
    assert json.loads(arguments("CMD")[-1]) == ["gunicorn", "-c", "gunicorn.conf.py", "wsgi:app"]


def test_contents() -> None:
    """Only files needed at run time are in the build context and in the image, so never .env."""
    copied = {
        name for line in arguments("COPY") if not line.startswith("--from") for name in line.split()[:-1]
    }
    ignore = (ROOT / ".dockerignore").read_text("utf-8").splitlines()

    assert copied == {"requirements.txt", "app", "wsgi.py", "gunicorn.conf.py"}
    assert next(line for line in ignore if not line.startswith("#")) == "*"
    assert {line[1:] for line in ignore if line.startswith("!")} == copied


def test_labels() -> None:
    """The image has OCI labels for its title, version and license."""
    title, version = 'org.opencontainers.image.title="acl-auth-service"', 'image.version="${VERSION}"'

    assert title in arguments("LABEL")[0]
    assert version in arguments("LABEL")[0]
    assert 'licenses="MIT"' in arguments("LABEL")[0]


@pytest.mark.parametrize(("status", "unhealthy"), [(200, 0), (503, 1)])
def test_healthcheck(service: Service, status: int, unhealthy: int) -> None:
    """The container is healthy while /livez answers 200, on any port."""
    service.status = status

    assert healthcheck(service.port) == unhealthy


def test_healthcheck_without_a_service() -> None:
    """The container is unhealthy if nothing listens on the port."""
    assert healthcheck(free_port()) != 0
