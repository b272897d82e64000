"""A Redis that is too old is called that, wherever somebody looks, until it is replaced."""

from __future__ import annotations

import socketserver
import subprocess
import sys
from contextlib import suppress

import pytest

from devkit.ports import free_port
from devkit.process import ROOT
from devkit.redis_server import RedisServer
from devkit.server import Server
from devkit.service import Gunicorn
from devkit.waiting import until

pytestmark = pytest.mark.e2e

TOLD = "needs 7.0 or newer, this is 6.2.14"
COMPILING = b"-ERR Error compiling script (new function): user_script:1: unexpected symbol near '#'\r\n"


class Old(socketserver.StreamRequestHandler):
    """Answers as Redis 6.2 does, to a user who may ask for INFO or not."""

    server: OldServer

    def handle(self) -> None:
        """Answer until the client leaves."""
        with suppress(OSError):
            while words := self._read():
                self.wfile.write(self._answer(words[0].upper()))

    def _read(self) -> list[bytes]:
        count = int(self.rfile.readline()[1:] or 0)
        return [self.rfile.read(int(self.rfile.readline()[1:]) + 2)[:-2] for _ in range(count)]

    def _answer(self, name: bytes) -> bytes:
        if name == b"INFO" and not self.server.tells:
            return b"-NOPERM this user has no permissions to run the 'info' command or its subcommand\r\n"
        told = b"# Server\r\nredis_version:6.2.14\r\nredis_git_sha1:00000000\r\n"
        answers = {
            b"INFO": b"$%d\r\n%s\r\n" % (len(told), told),
            b"SMEMBERS": b"*0\r\n",
            b"EVALSHA": b"-NOSCRIPT No matching script. Please use EVAL.\r\n",
            b"EVAL": COMPILING,
        }
        return answers.get(name, b"+OK\r\n")


class OldServer(Server):
    """A server that *tells* its version or does not."""

    def __init__(self, port: int, *, tells: bool = True) -> None:
        super().__init__(Old, port)
        self.tells = tells


def cli(service: Gunicorn) -> str:
    """Return what ``flask tokens list`` complains of."""
    argv = [sys.executable, "-m", "flask", "--app", "wsgi", "tokens", "list"]
    ran = subprocess.run(
        argv, env=service.env, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 1
    return ran.stderr


def test_told() -> None:
    """Log, pages and shell say which version is needed and which is there; nothing is decided."""
    port = free_port()
    with OldServer(port), Gunicorn(port, web_concurrency=1, redis_deadline_ms=250) as service:
        assert service.auth("x" * 20).status == 503
        assert service.page("/healthz").status == 503
        assert TOLD in service.page("/").text
        assert TOLD in cli(service)
        assert f"no decision, redis unavailable: Redis is too old: the service {TOLD}" in service.log
        assert f"healthz, redis unavailable: Redis is too old: the service {TOLD}" in service.log


def test_upgraded() -> None:
    """The same workers go on as soon as a newer server is there."""
    port = free_port()
    with Gunicorn(port, web_concurrency=1, redis_deadline_ms=250) as service:
        with OldServer(port):
            assert service.auth("x" * 20).status == 503
        with RedisServer(port=port):
            until(lambda: (service.auth("x" * 20).status, service.page("/healthz").status) == (401, 200))


def test_version_that_nobody_may_ask_for() -> None:
    """A server that does not tell its version is tried, and what then fails is explained as well."""
    port = free_port()
    with OldServer(port, tells=False), Gunicorn(port, web_concurrency=1, redis_deadline_ms=250) as service:
        assert service.auth("x" * 20).status == 503
        assert service.page("/healthz").status == 503
        assert "the service needs Redis 7.0 or newer" in service.log
