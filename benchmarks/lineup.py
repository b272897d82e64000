"""The contenders: the service, its peers and a no-op as the upper bound, with one worker each."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from devkit.http import call
from devkit.ports import free_port
from devkit.process import ROOT, Process
from devkit.programs import demanded
from devkit.service import PEPPER, Gunicorn
from devkit.traefik import EntryPoint, Traefik

# More than any one token gets in a second, so that counting is part of the work but never refuses.
LIMIT, WINDOW_S = 1000, 1

SERVICE, FASTAPI, FLASK, BOUND = "service", "fastapi", "flask", "no-op"
TITLES = {
    SERVICE: "acl-auth-service",
    FASTAPI: "FastAPI + redis.asyncio",
    FLASK: "plain Flask + redis-py",
    BOUND: "no-op (nginx)",
}
NGINX_CONF = Path(__file__).with_name("peers") / "nginx.conf"


class Server(Process):
    """A process that serves HTTP on a loopback port."""

    def __init__(self) -> None:
        super().__init__()
        self.port = free_port()

    def is_ready(self) -> bool:
        """Return whether it answers at all."""
        return call(self.port, "/auth").status > 0


class Peer(Server):
    """A Python application with the same settings as the service."""

    def __init__(self, redis_port: int, argv: Sequence[str]) -> None:
        super().__init__()
        settings = {"PEPPER": PEPPER, "REDIS_PORT": redis_port, "RATE_LIMIT_MAX": LIMIT}
        self.env |= {name: str(value) for name, value in settings.items()}
        self.env |= {"RATE_LIMIT_WINDOW_SEC": str(WINDOW_S), "PYTHONPATH": str(ROOT)}
        self.env |= {"PYTHONDONTWRITEBYTECODE": "1"}
        self.argv = [sys.executable, "-m", *(arg.format(port=self.port) for arg in argv)]


class FastApi(Peer):
    """FastAPI under uvicorn, with the fast loop and parser and without an access log."""

    name = "fastapi"

    def __init__(self, redis_port: int) -> None:
        speed = ("--loop=uvloop", "--http=httptools", "--no-access-log", "--log-level=warning")
        super().__init__(redis_port, ("uvicorn", "benchmarks.peers.fastapi_app:app", "--port={port}", *speed))


class PlainFlask(Peer):
    """Flask under gunicorn's own gevent worker."""

    name = "flask"

    def __init__(self, redis_port: int) -> None:
        how = ("-k", "gevent", "-w", "1", "-b", "127.0.0.1:{port}", "--log-level=warning")
        super().__init__(redis_port, ("gunicorn", *how, "benchmarks.peers.flask_app:app"))


class Nginx(Server):
    """nginx, which answers every request with 200."""

    name = "nginx"

    def __init__(self) -> None:
        super().__init__()
        config = NGINX_CONF.read_text("ascii").replace("@PORT@", str(self.port))
        (self.dir / "nginx.conf").write_text(config.replace("@DIR@", str(self.dir)))
        self.argv = [
            demanded("nginx"),
            "-p",
            str(self.dir),
            "-c",
            str(self.dir / "nginx.conf"),
            "-e",
            "stderr",
        ]


def service(redis_port: int, limit: int = LIMIT, window_s: int = WINDOW_S, **more: object) -> Gunicorn:
    """Return the service as in production, with one worker."""
    return Gunicorn(
        redis_port,
        web_concurrency=1,
        log_level="warning",
        rate_limit_max=limit,
        rate_limit_window_sec=window_s,
        redis_deadline_ms=None,
        **more,
    )


def traefik(auth_ports: dict[str, int], backend: int) -> Traefik:
    """Return a Traefik with an entry point for each auth service."""
    entry_points = {
        name: EntryPoint(address=f"http://127.0.0.1:{port}/auth") for name, port in auth_ports.items()
    }
    return Traefik(next(iter(auth_ports.values())), backend, entry_points, log_level="ERROR")
