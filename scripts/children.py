"""Start child processes that exit with this one, and stop those that did not."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from scripts import termination
from scripts.locks import UNNAMED, Locks

PATIENCE_S = 30
_PR_SET_PDEATHSIG = 1


def spawn(
    command: list[str], locks: Locks | None, number: int, descriptors: Sequence[int] = (), **options: Any
) -> subprocess.Popen[bytes]:
    """Start a child that Ctrl-C in this terminal does not signal and that holds byte *number* of *locks*."""

    def prepare() -> None:
        _die_with_parent()
        if locks and not locks.take(number):
            raise BlockingIOError

    kept = [locks.descriptor, *descriptors] if locks else descriptors
    return subprocess.Popen(command, start_new_session=True, preexec_fn=prepare, pass_fds=kept, **options)


def stop(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Stop a child with signal *number*, or kill it after PATIENCE_S."""
    process.send_signal(number)
    try:
        process.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def end_leftover(locks: Locks, number: int, what: str) -> None:
    """Stop the child of a run that was killed: the process that holds byte *number*, and no other one."""
    for ending in (signal.SIGTERM, signal.SIGKILL):
        if (process := locks.holder(number)) is None:
            return
        if process == UNNAMED:
            sys.exit(f"another machine or container runs {what} on this directory; stop that one first")
        print(f"stopping {what} that a killed run left behind (process {process})", flush=True)
        end(process, ending)
        if until(lambda: locks.holder(number) is None):
            return
    sys.exit(f"{what} of the last run does not exit")


def end(process: int, number: signal.Signals) -> None:
    """Send signal *number*, which also wakes a process that is stopped."""
    with suppress(ProcessLookupError):
        os.kill(process, number)
        os.kill(process, signal.SIGCONT)


def wait(is_over: Callable[[], bool], complaint: str) -> None:
    """Wait until *is_over*; exits with *complaint* after PATIENCE_S."""
    if not until(is_over):
        sys.exit(complaint)


def until(is_over: Callable[[], bool]) -> bool:
    """Wait until *is_over*; return False after PATIENCE_S."""
    deadline = time.monotonic() + PATIENCE_S
    while not (over := is_over()) and time.monotonic() < deadline:
        termination.pause(0.05)
    return over


def _die_with_parent() -> None:
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
