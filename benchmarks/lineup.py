"""The contenders: the service, its peers, and a no-op as the upper bound."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

from benchmarks import go_build
from devkit.http import call
from devkit.ports import free_port
from devkit.process import ROOT, Process
from devkit.programs import demanded, path_of
from devkit.service import PEPPER, Gunicorn

# More than any one token gets in a second, so that counting is part of the work but never refuses.
LIMIT, WINDOW_S = 1000, 1

PEERS = Path(__file__).with_name("peers")
SERVICE, FASTAPI, FLASK, BOUND = "service", "fastapi", "flask", "no-op"
GO_POOL, GO_PIPELINE, NGINX_LUA = "go-pool", "go-pipeline", "nginx-lua"


@dataclass(frozen=True)
class Terms:
    """What all contenders are started with; a *redis_port* of 0 is none."""

    redis_port: int = 0
    workers: int = 1
    limit: int = LIMIT
    window_s: int = WINDOW_S


class Server(Process):
    """A process that serves HTTP on a loopback port."""

    def __init__(self, terms: Terms) -> None:
        super().__init__()
        self.port = free_port()
        settings = {"PEPPER": PEPPER, "PORT": self.port, "REDIS_PORT": terms.redis_port}
        settings |= {"RATE_LIMIT_MAX": terms.limit, "RATE_LIMIT_WINDOW_SEC": terms.window_s}
        self.env |= {name: str(value) for name, value in settings.items()}
        self.env |= {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}

    @staticmethod
    def missing() -> str:
        """Return what this machine lacks to run it, "" if nothing."""
        return ""

    def is_ready(self) -> bool:
        """Return whether it answers at all."""
        return call(self.port, "/auth").status > 0

    def _python(self, *argv: object) -> None:
        self.argv = [sys.executable, "-m", *map(str, argv)]


class FastApi(Server):
    """FastAPI under uvicorn, with the fast loop and parser and without an access log."""

    name = "fastapi"
    _SPEED = ("--loop=uvloop", "--http=httptools", "--no-access-log", "--log-level=warning")

    def __init__(self, terms: Terms) -> None:
        super().__init__(terms)
        where = (f"--port={self.port}", f"--workers={terms.workers}")
        self._python("uvicorn", "benchmarks.peers.fastapi_app:app", *where, *self._SPEED)

    @staticmethod
    def missing() -> str:
        """Return the packages that are missing."""
        wanted = ("fastapi", "uvicorn", "uvloop", "httptools")
        return _listed([name for name in wanted if not find_spec(name)], "`make .venv/.bench`")


class PlainFlask(Server):
    """Flask under gunicorn's own gevent worker."""

    name = "flask"

    def __init__(self, terms: Terms) -> None:
        super().__init__(terms)
        how = ("-k", "gevent", "-w", terms.workers, "-b", f"127.0.0.1:{self.port}", "--log-level=warning")
        self._python("gunicorn", *how, "benchmarks.peers.flask_app:app")


class Go(Server):
    """A Go program with as many processors as the others have workers."""

    client: ClassVar[str]

    def __init__(self, terms: Terms) -> None:
        super().__init__(terms)
        self.env |= {"REDIS_CLIENT": self.client, "GOMAXPROCS": str(terms.workers)}
        self.argv = [str(go_build.binary())]

    @staticmethod
    def missing() -> str:
        """Return what is missing to build it."""
        return go_build.missing()


class GoPool(Go):
    """The Go program with redigo's pool."""

    name, client = GO_POOL, "pool"


class GoPipeline(Go):
    """The Go program with one connection to Redis."""

    name, client = GO_PIPELINE, "pipeline"


class Nginx(Server):
    """nginx, which answers every request with 200."""

    name = "nginx"
    config = "nginx.conf"

    def __init__(self, terms: Terms) -> None:
        super().__init__(terms)
        places = {"PORT": self.port, "DIR": self.dir, "WORKERS": terms.workers, "PEERS": PEERS}
        text = (PEERS / self.config).read_text("ascii")
        for name, value in places.items():
            text = text.replace(f"@{name}@", str(value))
        file = self.dir / self.config
        file.write_text(text)
        self.argv = [demanded("nginx"), "-p", str(self.dir), "-c", str(file), "-e", "stderr"]


class NginxLua(Nginx):
    """nginx with Lua, from Debian's packages."""

    name = NGINX_LUA
    config = "nginx_lua.conf"
    _FILES: ClassVar[Mapping[str, str]] = {
        "libnginx-mod-http-lua": "/usr/lib/nginx/modules/ngx_http_lua_module.so",
        "lua-nginx-redis": "/usr/share/lua/5.1/nginx/redis.lua",
        "lua-nginx-string": "/usr/share/lua/5.1/nginx/sha256.lua",
    }

    @classmethod
    def missing(cls) -> str:
        """Return the packages that are missing."""
        packages = [package for package, file in cls._FILES.items() if not Path(file).exists()]
        return _listed(["nginx"] * (not path_of("nginx")) + packages, "`apt-get install`")


def service(terms: Terms, **more: object) -> Gunicorn:
    """Return the service as in production."""
    return Gunicorn(
        terms.redis_port or None,
        web_concurrency=terms.workers,
        log_level="warning",
        rate_limit_max=terms.limit,
        rate_limit_window_sec=terms.window_s,
        redis_deadline_ms=None,
        **more,
    )


@dataclass(frozen=True)
class Contender:
    """Its name in the tables and how it is started."""

    title: str
    start: Callable[[Terms], Server | Gunicorn]
    missing: Callable[[], str] = str


CONTENDERS: Mapping[str, Contender] = {
    SERVICE: Contender("acl-auth-service", service),
    NGINX_LUA: Contender("nginx + Lua", NginxLua, NginxLua.missing),
    GO_POOL: Contender("Go net/http, pool", GoPool, GoPool.missing),
    GO_PIPELINE: Contender("Go net/http, one pipelined connection", GoPipeline, GoPipeline.missing),
    FASTAPI: Contender("FastAPI + redis.asyncio", FastApi, FastApi.missing),
    FLASK: Contender("plain Flask + redis-py", PlainFlask),
    BOUND: Contender("no-op (nginx)", Nginx),
}


def _listed(names: list[str], remedy: str) -> str:
    return f"not installed: {', '.join(names)} ({remedy})" if names else ""
