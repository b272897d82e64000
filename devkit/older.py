"""The service as an earlier commit had it, and a rolling restart from it to that of today and back."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from devkit.load import Load
from devkit.process import COVERAGE, ROOT
from devkit.redis_server import RedisServer
from devkit.service import Gunicorn
from devkit.traefik import Balancer
from devkit.waiting import until

_PARTS = ("app", "wsgi.py", "gunicorn.conf.py")
NO_HISTORY = "is not in this checkout"
_ENOUGH = 15  # requests between two steps


class NoHistoryError(LookupError):
    """The checkout does not have the commit: it is shallow or no repository, or there is no git."""


def extract(commit: str, tree: Path) -> None:
    """Write the service of *commit* to the directory *tree*; raises NoHistoryError."""
    # In a container, the checkout may belong to another user than the tests.
    git = ["git", "-c", f"safe.directory={ROOT}", "-C", str(ROOT)]
    try:
        done = subprocess.run([*git, "archive", commit, *_PARTS], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", b"").decode(errors="replace").strip()
        raise NoHistoryError(f"commit {commit} {NO_HISTORY}: {said or error}") from error
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(tree, filter="data")


class OlderGunicorn(Gunicorn):
    """The service in the directory *tree*, with its own gunicorn.conf.py and the packages of today."""

    def __init__(self, tree: Path, redis_port: object, **settings: object) -> None:
        super().__init__(redis_port, **settings)
        self.env["PYTHONPATH"] = str(tree)
        self.env.pop(COVERAGE, None)  # because its modules are not those that are measured
        self.argv = [sys.executable, "-m", "gunicorn", "-c", str(tree / "gunicorn.conf.py"), "wsgi:app"]


class Versions(NamedTuple):
    """An older version and that of today with one Redis, and the Traefik that asks one or both of them."""

    old: OlderGunicorn
    new: Gunicorn
    redis: Any
    traefik: Balancer

    @contextmanager
    def rolling(self, load: Load, first: Gunicorn, second: Gunicorn) -> Iterator[None]:
        """Start *second*, ask both while a block runs, and from then on *second* alone."""
        load.wait_for(_ENOUGH)
        second.start()
        self._ask(load, first, second)
        yield
        self._ask(load, second)

    def _ask(self, load: Load, *services: Gunicorn) -> None:
        self.traefik.spread([service.port for service in services])
        until(lambda: self.traefik.replicas() == len(services))
        load.wait_for(_ENOUGH)


@contextmanager
def versions(tree: Path, backend: int) -> Iterator[Versions]:
    """Start the service in *tree* behind Traefik, and prepare that of today; *backend* is a port."""
    with ExitStack() as stack:
        redis = stack.enter_context(RedisServer())
        old = stack.enter_context(OlderGunicorn(tree, redis.port, auth_realm="old"))
        new = stack.push(Gunicorn(redis.port, auth_realm="new"))
        traefik = stack.enter_context(Balancer([old.port], backend))
        yield Versions(old, new, redis.client(), traefik)
