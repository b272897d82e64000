"""Processes with a directory of their own, which end with their test."""

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
COVERAGE = "COVERAGE_PROCESS_CONFIG"  # what coverage tells the processes that it measures
_INHERITED = {"PATH", "LD_LIBRARY_PATH", "TMPDIR", COVERAGE} & os.environ.keys()


class Process:
    """A process with its own directory and session; start waits until it is ready, leaving kills it."""

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
        """Return all that it has written to stdout and stderr."""
        return self.log_path.read_text("utf-8", "replace")

    @property
    def is_alive(self) -> bool:
        """Tell whether it has been started and has not ended."""
        return self._popen is not None and self._popen.poll() is None

    def is_ready(self) -> bool:
        """Tell whether it serves."""
        raise NotImplementedError

    def start(self) -> None:
        """Start it, again if need be, and wait until it serves."""
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
        """Wait until it serves; raises RuntimeError with its log if it ends or takes too long."""
        deadline = time.monotonic() + self.start_deadline_s
        while not self._is_ready_now():
            if (self._popen and self._popen.poll() is not None) or time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} does not serve:\n{self.log}")
            time.sleep(0.02)

    def _is_ready_now(self) -> bool:
        try:
            return self.is_ready()
        except (OSError, redis.RedisError):
            return False

    def signal(self, number: int) -> None:
        """Send a signal to the leader alone."""
        os.kill(self.pid, number)

    def wait(self, timeout_s: float = 60) -> int:
        """Wait for the end and return the exit code."""
        assert self._popen, f"{self.name} was not started"
        return self._popen.wait(timeout_s)

    def stop(self, timeout_s: float = 60) -> int:
        """End it as an init system would and return the exit code."""
        self.resume()
        self.signal(signals.SIGTERM)
        return self.wait(timeout_s)

    def kill(self) -> None:
        """End it and its children at once, as a crash would; nothing happens if it has ended well."""
        if self._popen and self._popen.poll() != 0:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signals.SIGKILL)
            self.wait()

    def pause(self) -> None:
        """Stop it and its children from running; their sockets stay open."""
        os.killpg(self.pid, signals.SIGSTOP)
        until(lambda: all(map(is_stopped, (self.pid, *children(self.pid)))))

    def resume(self) -> None:
        """Let it run on."""
        os.killpg(self.pid, signals.SIGCONT)


def run_module(name: str, *arguments: object, timeout_s: float = 100) -> str:
    """Run ``python -m`` in the checkout and return what it prints; fails with its stderr."""
    argv = [sys.executable, "-m", name, *map(str, arguments)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=timeout_s, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
