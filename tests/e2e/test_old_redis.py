"""A Redis that is too old is reported as such in log, pages and CLI until it is replaced."""

from __future__ import annotations

import socketserver
import subprocess
import sys
from contextlib import suppress

import pytest

from devkit.ports import free_port
from devkit.process import OUTSIDE
from devkit.redis_server import RedisServer
from devkit.server import Server
from devkit.service import Gunicorn
from devkit.waiting import until

pytestmark = pytest.mark.e2e

TOO_OLD = "needs 7.0 or newer, this is 6.2.14"
COMPILING = b"-ERR Error compiling script (new function): user_script:1: unexpected symbol near '#'\r\n"


class Old(socketserver.StreamRequestHandler):
    """A handler that answers as Redis 6.2 does, with or without the right to INFO."""

    server: OldServer

    def handle(self) -> None:
        """Answer commands until the client disconnects."""
        with suppress(OSError):
            while command := self._read():
                self.wfile.write(self._answer(command[0].upper()))

    def _read(self) -> list[bytes]:
        count = int(self.rfile.readline()[1:] or 0)
        return [self.rfile.read(int(self.rfile.readline()[1:]) + 2)[:-2] for _ in range(count)]

    def _answer(self, name: bytes) -> bytes:
        if name == b"INFO" and not self.server.tells_version:
            return b"-NOPERM this user has no permissions to run the 'info' command or its subcommand\r\n"
        info = b"# Server\r\nredis_version:6.2.14\r\nredis_git_sha1:00000000\r\n"
        answers = {
            b"INFO": b"$%d\r\n%s\r\n" % (len(info), info),
            b"SMEMBERS": b"*0\r\n",
            b"EVALSHA": b"-NOSCRIPT No matching script. Please use EVAL.\r\n",
            b"EVAL": COMPILING,
        }
        return answers.get(name, b"+OK\r\n")


class OldServer(Server):
    """A fake old server that reveals its version to INFO if *tells_version* is set."""

    def __init__(self, port: int, *, tells_version: bool = True) -> None:
        super().__init__(Old, port)
        self.tells_version = tells_version


def cli(service: Gunicorn) -> str:
    """Return the error output of ``flask tokens list``."""
    argv = [sys.executable, "-m", "flask", "--app", "wsgi", "tokens", "list"]
    ran = subprocess.run(
        argv, env=service.env, cwd=OUTSIDE, capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 5
    return ran.stderr


def test_old_version_is_reported() -> None:
    """Log, pages and CLI name the required and the actual version, and no request is allowed."""
    port = free_port()
    with OldServer(port), Gunicorn(port, web_concurrency=1, redis_deadline_ms=250) as service:
        assert service.auth("x" * 20).status == 503
        assert service.page("/healthz").status == 503
        assert TOO_OLD in service.page("/").text
        assert TOO_OLD in cli(service)
        assert f"no decision, redis unavailable: Redis is too old: the service {TOO_OLD}" in service.log
        assert f"healthz, redis unavailable: Redis is too old: the service {TOO_OLD}" in service.log


def test_upgrade_is_noticed() -> None:
    """The same workers resume when a newer server replaces the old one."""
    port = free_port()
    with Gunicorn(port, web_concurrency=1, redis_deadline_ms=250) as service:
        with OldServer(port):
            assert service.auth("x" * 20).status == 503
        with RedisServer(port=port):
            until(lambda: (service.auth("x" * 20).status, service.page("/healthz").status) == (401, 200))


def test_hidden_version() -> None:
    """A server that denies INFO is tried, and its failure is explained all the same."""
    port = free_port()
    with (
        OldServer(port, tells_version=False),
        Gunicorn(port, web_concurrency=1, redis_deadline_ms=250) as service,
    ):
        assert service.auth("x" * 20).status == 503
        assert service.page("/healthz").status == 503
        assert "the service needs Redis 7.0 or newer" in service.log
