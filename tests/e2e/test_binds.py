"""Every form of BIND either serves and passes the image's health check, or fails with one message."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from devkit.ports import free_port
from devkit.process import OUTSIDE, ROOT
from devkit.redis_server import RedisServer
from devkit.service import Gunicorn

pytestmark = pytest.mark.e2e


def healthcheck(bind: str | None, directory: Path) -> int:
    """Run the image's HEALTHCHECK in *directory*, and return its exit status."""
    instruction = re.search(
        r"^HEALTHCHECK .* CMD (\[.*\])$", (ROOT / "Dockerfile").read_text("utf-8"), re.MULTILINE
    )
    assert instruction
    command = [str(ROOT / word) if word.startswith("app/") else word for word in json.loads(instruction[1])]
    environ = {} if bind is None else {"BIND": bind}
    return subprocess.run(
        [sys.executable, *command[1:]],
        env=environ,
        cwd=directory,
        capture_output=True,
        timeout=60,
        check=False,
    ).returncode


class Bound(Gunicorn):
    """A service that is ready when the image's health check passes."""

    def __init__(self, redis_port: int, bind: str) -> None:
        super().__init__(redis_port, bind=bind, web_concurrency=1)
        self.bind = bind

    def is_ready(self) -> bool:
        """Return whether a worker has started and the health check passes."""
        return "Booting worker" in self.log and healthcheck(self.bind, self.dir) == 0


FORMS = [
    "127.0.0.1:{}",
    "0.0.0.0:{}",
    ":{}",
    "*:{}",
    "localhost:{}",
    "tcp://127.0.0.1:{}",
    "[::]:{}",
    "[::1]:{}",
    "unix:auth-{}.sock",
    "unix:///tmp/auth-{}.sock",
]


def test_health(redis_server: RedisServer) -> None:
    """Health checks of all forms of an address pass until a stop; with several, every one must answer."""
    binds = [form.replace("{}", str(free_port())) for form in FORMS]
    with Bound(redis_server.port, ",".join(binds)) as service:
        assert "Listening at: " in service.log
        assert [healthcheck(bind, service.dir) for bind in binds] == [0] * len(binds)
        assert healthcheck(f"{binds[0]},127.0.0.1:{free_port()}", service.dir) == 1
        assert service.stop() == 0
        assert [healthcheck(bind, service.dir) for bind in binds] == [1] * len(binds)
    for bind in binds:
        Path("/tmp", bind.rpartition("/")[2]).unlink(missing_ok=True)


def test_loopback_by_default() -> None:
    """The service listens on loopback if BIND is unset or empty; the image sets BIND to all interfaces."""
    config = f"import runpy; print(runpy.run_path({str(ROOT / 'gunicorn.conf.py')!r})['bind'])"
    environ = Gunicorn(1, bind="").env
    printed = subprocess.check_output(
        [sys.executable, "-c", config], env=environ, cwd=OUTSIDE, text=True, timeout=60
    )

    assert printed == "['127.0.0.1:8000']\n"
    assert "BIND=0.0.0.0:8000" in (ROOT / "Dockerfile").read_text("utf-8")


def _failed_start_log(bind: str, **settings: object) -> str:
    """Start the service with *bind*, assert that it fails, and return its log."""
    service = Gunicorn(1, bind=bind, **settings)
    with service.log_path.open("w") as log:
        run = subprocess.run(
            service.argv, env=service.env, cwd=service.dir, stdout=log, stderr=log, timeout=60, check=False
        )
    output = service.log
    service.__exit__()
    assert run.returncode != 0
    assert "Traceback" not in output
    return output


NOT_BOUND = {
    "192.0.2.1:8000": "Cannot assign requested address",
    "nobody.invalid:8000": "",
    "[2001:db8::1]:8000": "",
    "unix:/nowhere/auth.sock": "No such file or directory",
    "unix:/proc/auth.sock": "",
    f"unix:{__file__}": "a file that is not a socket has that name",
}
INVALID = {
    "fd://3": "an address such as",
    "0.0.0.0:0": "an address such as",
    "unix:": "the path of a socket follows",
}


def test_addresses_that_cannot_be_bound() -> None:
    """Every address that cannot be bound is reported once, as a problem of BIND, like an invalid one."""
    log = _failed_start_log(",".join(NOT_BOUND))
    for bind, reason in NOT_BOUND.items():
        assert log.count(f"\n  BIND: can't listen at {bind}: {reason}") == 1
    assert log.count("can't listen") == len(NOT_BOUND)


@pytest.mark.parametrize(("bind", "reason"), INVALID.items())
def test_invalid_address(bind: str, reason: str) -> None:
    """An invalid address is reported once, as a problem of BIND."""
    assert _failed_start_log(bind).count(f"\n  BIND: {reason}") == 1


def test_port_in_use() -> None:
    """A port that stays in use is reported after a grace period in which its owner may exit."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        bind = f"127.0.0.1:{taken.getsockname()[1]}"
        assert f"settings:\n  BIND: can't listen at {bind}: Address already in use" in _failed_start_log(bind)


def test_socket_in_use(redis_server: RedisServer, tmp_path: Path) -> None:
    """A socket that another process listens on is left alone; a stale one from a crash is replaced."""
    bind = f"unix:{tmp_path / 'auth.sock'}"
    with Bound(redis_server.port, bind) as first:
        assert f"settings:\n  BIND: can't listen at {bind}: Address already in use" in _failed_start_log(bind)
        assert first.is_ready()
        first.kill()
        assert (tmp_path / "auth.sock").is_socket()
        with Bound(redis_server.port, bind) as second:
            assert second.is_ready()
