"""BIND: each form serves and is found healthy by the image's check, or ends the start with one message."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from devkit.ports import free_port
from devkit.process import ROOT
from devkit.redis_server import RedisServer
from devkit.service import Gunicorn

pytestmark = pytest.mark.e2e


def healthcheck(bind: str | None, directory: Path) -> int:
    """Run the HEALTHCHECK of the image, whose working directory has the app, and return its status."""
    found = re.search(
        r"^HEALTHCHECK .* CMD (\[.*\])$", (ROOT / "Dockerfile").read_text("utf-8"), re.MULTILINE
    )
    assert found
    command = [str(ROOT / word) if word.startswith("app/") else word for word in json.loads(found[1])]
    environ = {} if bind is None else {"BIND": bind}
    return subprocess.run(
        [sys.executable, *command[1:]],
        env=environ,
        cwd=directory,
        capture_output=True,
        timeout=20,
        check=False,
    ).returncode


class Bound(Gunicorn):
    """A service that the image's check asks whether it serves."""

    def __init__(self, redis_port: int, bind: str, check: str | None) -> None:
        super().__init__(redis_port, bind=bind, web_concurrency=1)
        self.check = check

    def is_ready(self) -> bool:
        """Tell whether the check finds it healthy."""
        return healthcheck(self.check, self.dir) == 0


BINDS = [
    "127.0.0.1:{}",
    "0.0.0.0:{}",
    ":{}",
    "*:{}",
    "localhost:{}",
    "tcp://127.0.0.1:{}",
    "[::]:{}",
    "[::1]:{}",
]
BINDS += ["unix:auth-{}.sock", "unix:///tmp/auth-{}.sock", "127.0.0.1:{},unix:auth-{}.sock"]


@pytest.mark.parametrize("form", BINDS)
def test_health(redis_server: RedisServer, form: str) -> None:
    """The check finds the service wherever it listens, and nobody once it has gone."""
    bind = form.replace("{}", str(free_port()))
    with Bound(redis_server.port, bind, bind) as service:
        assert "Listening at: " in service.log
        assert service.stop() == 0
        assert healthcheck(bind, service.dir) == 1
    Path("/tmp", bind.rpartition("/")[2]).unlink(missing_ok=True)


def test_each_address_counts(redis_server: RedisServer) -> None:
    """Of several addresses each has to answer."""
    port, other = free_port(), free_port()
    with Bound(redis_server.port, f"127.0.0.1:{port}", f"127.0.0.1:{port}") as service:
        assert healthcheck(f"127.0.0.1:{port},127.0.0.1:{other}", service.dir) == 1


def test_loopback_by_default() -> None:
    """Without BIND, or with an empty one, nobody but this machine is answered; the image opens itself."""
    config = "import runpy; print(runpy.run_path('gunicorn.conf.py')['bind'])"
    environ = Gunicorn(1, bind="").env
    printed = subprocess.check_output(
        [sys.executable, "-c", config], env=environ, cwd=ROOT, text=True, timeout=20
    )

    assert printed == "['127.0.0.1:8000']\n"
    assert "BIND=0.0.0.0:8000" in (ROOT / "Dockerfile").read_text("utf-8")


def _end(bind: str, **settings: object) -> str:
    """Return what a start with *bind* says at its end, and see that it does end."""
    service = Gunicorn(1, bind=bind, **settings)
    with service.log_path.open("w") as log:
        run = subprocess.run(
            service.argv, env=service.env, cwd=service.dir, stdout=log, stderr=log, timeout=40, check=False
        )
    said = service.log
    service.__exit__()
    assert run.returncode != 0
    assert "Traceback" not in said
    return said


@pytest.mark.parametrize(
    ("bind", "reason"),
    [
        ("192.0.2.1:8000", "can't listen at 192.0.2.1:8000: Cannot assign requested address"),
        ("nobody.invalid:8000", "can't listen at nobody.invalid:8000: "),
        ("[2001:db8::1]:8000", r"can't listen at \[2001:db8::1\]:8000: "),
        ("unix:/nowhere/auth.sock", "can't listen at unix:/nowhere/auth.sock: No such file or directory"),
        ("unix:/proc/auth.sock", "can't listen at unix:/proc/auth.sock: "),
        (f"unix:{__file__}", f"can't listen at unix:{__file__}: a file that is not a socket has that name"),
        ("fd://3", "an address such as"),
        ("0.0.0.0:0", "an address such as"),
        ("unix:", "the path of a socket follows"),
    ],
)
def test_nowhere_to_listen(bind: str, reason: str) -> None:
    """What turns out when it is tried is said as what is found in the text: once, and with BIND's name."""
    assert len(re.findall(f"^  BIND: {reason}", _end(bind), re.MULTILINE)) == 1


def test_port_in_use() -> None:
    """A port that stays taken is named, after a while in which its owner may be about to end."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        bind = f"127.0.0.1:{taken.getsockname()[1]}"
        assert f"settings:\n  BIND: can't listen at {bind}: Address already in use" in _end(bind)


def test_socket_in_use(redis_server: RedisServer, tmp_path: Path) -> None:
    """A path at which somebody listens stays theirs; one that a crash left behind is taken over."""
    bind = f"unix:{tmp_path / 'auth.sock'}"
    with Bound(redis_server.port, bind, bind) as first:
        assert f"settings:\n  BIND: can't listen at {bind}: Address already in use" in _end(bind)
        assert first.is_ready()
        first.kill()
        assert (tmp_path / "auth.sock").is_socket()
        with Bound(redis_server.port, bind, bind) as second:
            assert second.is_ready()
