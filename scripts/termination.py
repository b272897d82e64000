"""Signals that terminate this process: they take effect only between steps, so that each step is complete."""

from __future__ import annotations

import signal
import time

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_received: list[int] = []


def install() -> None:
    """Note the signals from now on, because an exception from a handler could be lost inside Python."""
    for number in _SIGNALS:
        signal.signal(number, lambda received, _: _received.append(received))


def pause(seconds: float) -> None:
    """Sleep; raises KeyboardInterrupt if a signal was received."""
    time.sleep(seconds)
    if _received:
        raise KeyboardInterrupt


def block() -> None:
    """Block further signals, even while Python exits: make and the user who stops make send one each."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
