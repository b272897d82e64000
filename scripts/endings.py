"""Signals that ask this process to end: noticed only between steps, so that each step is whole."""

from __future__ import annotations

import signal
import time

_ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_come: list[int] = []


def listen() -> None:
    """Note them from now on; one that raised could be lost wherever Python is right then."""
    for ending in _ENDINGS:
        signal.signal(ending, lambda number, _: _come.append(number))


def pause(seconds: float) -> None:
    """Sleep; raises KeyboardInterrupt if one has come."""
    time.sleep(seconds)
    if _come:
        raise KeyboardInterrupt


def disregard() -> None:
    """Let no further one in, also while Python ends; make and whoever stops make send one each."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDINGS)
