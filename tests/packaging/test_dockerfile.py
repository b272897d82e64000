"""The image is small, unprivileged and contains only what runs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from app.version import NAME
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
    line = f"ARG {arguments('ARG')[0].partition('@')[0]}"
    assert f"{line}@sha256:" in (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    (tmp_path / "Dockerfile").write_text(re.sub(f"{line}.*", f"{line}@sha256:{'0' * 64}", TEXT))

    assert lint(tmp_path / "Dockerfile") == (0, "")


def test_install() -> None:
    """Only locked wheels are installed, so that no unlocked build tool is fetched."""
    (install,) = [run for run in arguments("RUN") if "pip --python" in run]

    assert " --require-hashes --only-binary :all: --requirement requirements.txt" in install


def test_architectures() -> None:
    """`make lock` fails without a wheel for each architecture of the image and for the Python in it."""
    command = ["make", "-n", "-W", "requirements-dev.txt", "lock"]
    lock = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    python = re.search(r"python:(3\.\d+)-slim", arguments("ARG")[0])

    assert python
    assert "for machine in x86_64 aarch64; do" in lock
    assert f"--require-hashes --only-binary :all: \\\n    --python-version {python[1]} --platform" in lock


def prepare(root: Path, umask: int) -> None:
    """Write what the build stage is about to compile below *root*: a checkout with *umask*, and a package."""
    app = root / "service/srv/app"
    app.mkdir(parents=True)
    for name in ("early.pth", "version.py", "listening.py"):
        shutil.copyfile(ROOT / "app" / name, app / name)
        (app / name).chmod(0o666 & ~umask)
    app.chmod(0o777 & ~umask)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", root / "venv"], check=True)
    (root / "venv/lib/package.py").write_text("NAMES = frozenset({'a', 'b', 'c'})\n")
    os.utime(root / "venv/lib/package.py", (umask, umask))


def compiled(root: Path, umask: int) -> dict[str, tuple[int, float, str]]:
    """Return mode, time and digest of all files that the build stage makes of a checkout with *umask*."""
    prepare(root, umask)
    (run,) = [run for run in arguments("RUN") if "compileall" in run]
    script = re.sub(r"(?<![\w/])/(?=venv|packages|service)", f"{root}/", run)
    env = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    subprocess.run(["sh", "-ec", script], cwd=root / "service/srv", env=env, check=True)
    found = [path for top in ("packages", "service") for path in (root / top).rglob("*")]
    stats = {path: path.lstat() for path in found}
    digests = {path: sha256(path.read_bytes()).hexdigest() for path in found if path.is_file()}
    shutil.rmtree(root)
    return {str(path): (stat.st_mode, stat.st_mtime, digests.get(path, "")) for path, stat in stats.items()}


def test_reproducible(tmp_path: Path) -> None:
    """The same files give the same layers, whatever their umask and times, and anyone can read them."""
    one, other = (compiled(tmp_path / "root", umask) for umask in (0o022, 0o077))
    (install,) = [run for run in arguments("RUN") if "pip --python" in run]

    assert one == other
    assert {time for _, time, _ in one.values()} == {0}
    assert all(mode & 0o044 == 0o044 for mode, _, _ in one.values())
    assert sum(name.endswith(".pyc") for name in one) == 3
    assert " --no-compile " in install


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
    """The image has OCI labels; those that a build decides are arguments of it."""
    labels = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="(.*?)"(?= |$)', arguments("LABEL")[0]))

    assert labels.pop("description")
    assert labels == {
        "title": NAME,
        "licenses": "MIT",
        "version": "${VERSION}",
        "revision": "${REVISION}",
        "source": "${SOURCE}",
        "documentation": "${SOURCE:+${SOURCE}#readme}",
    }


@pytest.mark.parametrize(("status", "unhealthy"), [(200, 0), (503, 1)])
def test_healthcheck(service: Service, status: int, unhealthy: int) -> None:
    """The container is healthy while /livez answers 200, on any port."""
    service.status = status

    assert healthcheck(service.port) == unhealthy


def test_healthcheck_without_a_service() -> None:
    """The container is unhealthy if nothing listens on the port."""
    assert healthcheck(free_port()) != 0
