"""Processes with a directory of their own that end with their test."""

from __future__ import annotations

import os
import shutil
import signal as signals
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

import redis

from devkit.proc import children, is_stopped
from devkit.waiting import until

ROOT = Path(__file__).resolve().parents[1]
# The working directory of commands, which in ROOT would read the .env of a developer.
OUTSIDE = Path(tempfile.gettempdir())
COVERAGE = "COVERAGE_PROCESS_CONFIG"  # set by coverage for the processes that it measures
_INHERITED = {"PATH", "LD_LIBRARY_PATH", "TMPDIR", COVERAGE} & os.environ.keys()


class Process:
    """A process with its own directory and session that is started and killed with a block."""

    name = "process"
    argv: Sequence[str] = ()
    start_deadline_s = 60.0

    def __init__(self) -> None:
        self.dir = Path(tempfile.mkdtemp(prefix=f"e2e-{self.name}-"))
        self.log_path = self.dir / "log"
        self.env = {name: os.environ[name] for name in _INHERITED} | {"HOME": str(self.dir)}
        self._popen: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self.dir, ignore_errors=True)

    @property
    def pid(self) -> int:
        """Return the process id of the leader."""
        assert self._popen, f"{self.name} was not started"
        return self._popen.pid

    @property
    def log(self) -> str:
        """Return its stdout and stderr so far."""
        return self.log_path.read_text("utf-8", "replace")

    @property
    def is_alive(self) -> bool:
        """Return whether it is running."""
        return self._popen is not None and self._popen.poll() is None

    def is_ready(self) -> bool:
        """Return whether it is ready to serve."""
        raise NotImplementedError

    def start(self) -> None:
        """Start it for the first time or again, and wait until it is ready."""
        with self.log_path.open("ab") as log:
            self._popen = subprocess.Popen(
                self.argv,
                env=self.env,
                cwd=self.dir,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # for killpg
            )
        self.wait_ready()

    def wait_ready(self) -> None:
        """Wait until it is ready; raises RuntimeError with its log if it exits or takes too long."""
        deadline = time.monotonic() + self.start_deadline_s
        while not self._is_ready_now():
            if (self._popen and self._popen.poll() is not None) or time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} is not ready:\n{self.log}")
            time.sleep(0.02)

    def _is_ready_now(self) -> bool:
        try:
            return self.is_ready()
        except (OSError, redis.RedisError):
            return False

    def signal(self, number: int) -> None:
        """Send a signal to the leader only."""
        os.kill(self.pid, number)

    def wait(self, timeout_s: float = 60) -> int:
        """Wait for its exit and return the exit code."""
        assert self._popen, f"{self.name} was not started"
        return self._popen.wait(timeout_s)

    def stop(self, timeout_s: float = 60) -> int:
        """Send SIGTERM, wait for its exit and return the exit code."""
        self.resume()
        self.signal(signals.SIGTERM)
        return self.wait(timeout_s)

    def kill(self) -> None:
        """Kill it and its children unless it has exited with 0."""
        if self._popen and self._popen.poll() != 0:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signals.SIGKILL)
            self.wait()

    def pause(self) -> None:
        """Stop it and its children with SIGSTOP, which leaves their sockets open."""
        os.killpg(self.pid, signals.SIGSTOP)
        until(lambda: all(map(is_stopped, (self.pid, *children(self.pid)))))

    def resume(self) -> None:
        """Continue it and its children with SIGCONT."""
        os.killpg(self.pid, signals.SIGCONT)


def run_module(name: str, *arguments: object, timeout_s: float = 100) -> str:
    """Run ``python -m`` in the checkout and return its stdout; raises AssertionError with its stderr."""
    argv = [sys.executable, "-m", name, *map(str, arguments)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=timeout_s, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
