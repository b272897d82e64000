"""What docker-compose.yml runs, as processes of this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from devkit.process import ROOT, Process
from devkit.redis_server import redis_binary

PROGRAMS = ROOT / "deploy/compose"


def prepare(directory: Path, profiles: str = "", network: str = "10.213.77") -> str:
    """Run the service `secrets` in *directory* and return its output; raises CalledProcessError."""
    argv = [sys.executable, str(PROGRAMS / "prepare.py"), "http://auth.localhost:8080/", profiles, network]
    done = subprocess.run(argv, cwd=directory, env={}, capture_output=True, check=True)
    return done.stdout.decode()


def localize(secrets: Path) -> None:
    """Replace the path of the volume in what Redis reads of it."""
    for name in ("redis.conf", "sentinel.conf"):
        (secrets / name).write_text((secrets / name).read_text("utf-8").replace("/secrets/", f"{secrets}/"))


class Container(Process):
    """A Redis server or a sentinel with the files in *secrets*, its own volume and an address of its own."""

    name = "compose"

    def __init__(self, secrets: Path, address: str, port: int = 6379) -> None:
        super().__init__()
        self.secrets, self.address, self.port = secrets, address, port
        self.bound = ["--bind", address, "--bind-source-addr", address, "--protected-mode", "no"]

    def program(self, name: str, *arguments: str) -> None:
        """Start the shell program *name* of deploy/compose, on local files."""
        (self.dir / "bin").mkdir()
        (self.dir / "bin/redis-server").symlink_to(redis_binary())
        self.env["PATH"] = f"{self.dir / 'bin'}:{os.environ['PATH']}"
        (self.dir / name).write_text(self.localized((PROGRAMS / name).read_text("utf-8")))
        self.argv = ["sh", str(self.dir / name), *arguments]

    def server(self, options: Sequence[str]) -> None:
        """Start redis-server with the configuration in *secrets*."""
        self.argv = [redis_binary(), str(self.secrets / "redis.conf"), *map(self.localized, options)]

    def localized(self, text: str) -> str:
        """Return *text* with the paths of this machine in place of the container's."""
        return text.replace("/secrets/", f"{self.secrets}/").replace("/data", str(self.dir))

    def is_ready(self) -> bool:
        """Return whether it answers the health check."""
        with self.client("health") as client:
            return bool(client.ping())

    def client(self, user: str | None, password: str = "none") -> redis.Redis:  # noqa: S107 - it has none
        """Return a client that signs in as *user*, or not at all."""
        return redis.Redis(
            self.address,
            self.port,
            username=user,
            password=password if user else None,
            decode_responses=True,
            retry=Retry(NoBackoff(), 0),
        )
