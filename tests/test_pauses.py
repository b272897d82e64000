"""Long work and the connections that wait meanwhile."""

from __future__ import annotations

import time
from pathlib import Path

import gevent
from gevent import socket

from app.pauses import paced


def _work() -> None:
    until = time.perf_counter() + 0.001
    while time.perf_counter() < until:
        pass


def test_connections_are_read_during_long_work() -> None:
    """What arrives on a connection is read before the work is done, and nothing of the work is lost."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        reader = gevent.spawn(ours.recv, 1)
        gevent.sleep(0.001)  # now it waits
        read_at = None
        for number in paced(range(50)):
            if number == 0:
                theirs.send(b"x")
            _work()
            if read_at is None and reader.ready():
                read_at = number

    assert number == 49
    assert read_at is not None


def test_no_other_pauses() -> None:
    """Nothing yields by a sleep of 0, in which no connection is read."""
    modules = [*(Path(__file__).parents[1] / "app").rglob("*.py")]

    assert modules
    assert [str(module) for module in modules if "sleep(0)" in module.read_text("utf-8")] == []
