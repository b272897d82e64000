"""A clock of Redis that stands still until a test sets it, by means of libfaketime."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

from devkit.cluster import Nodes
from devkit.programs import program
from devkit.redis_server import RedisServer

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LIBRARY = "lib*/**/faketime/libfaketimeMT.so.1"


class StoppedClock:
    """The time of the servers that it rules: the real one until ``set``, then the one that was set, exactly.

    Skips the test without faketime, or without Redis: Valkey adds microseconds of its own.
    """

    def __init__(self) -> None:
        program("faketime")  # the command, whose package depends on the library
        self._redis = program("redis-server")
        self._dir = Path(tempfile.mkdtemp(prefix="clock-"))
        self._file = self._dir / "clock"
        self.us = 0
        self._env = {
            # libc's malloc instead of jemalloc, which asks for the time before libfaketime is ready.
            "LD_PRELOAD": f"{next(Path('/usr').glob(_LIBRARY))}:libc.so.6",
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "TZ": "UTC",
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._dir)

    def __call__(self) -> float:
        """Return the time, in seconds since the epoch."""
        return self.us / 1_000_000

    def set(self, us: int) -> None:
        """Set the clock, in microseconds since the epoch."""
        self.us = us
        text = (_EPOCH + timedelta(microseconds=us)).strftime("%Y-%m-%d %H:%M:%S.%f")
        new = self._file.with_suffix(".new")
        new.write_text(f"{text}5")  # libfaketime reads a binary fraction and rounds down
        new.replace(self._file)  # a reader never sees half a time

    @contextmanager
    def server(self) -> Iterator[RedisServer]:
        """Run a server under this clock."""
        server = RedisServer(binary=self._redis)
        server.env |= self._env
        with server, _stopped([server]):
            yield server

    @contextmanager
    def nodes(self) -> Iterator[Nodes]:
        """Run a Cluster under this clock, whose nodes never miss one another, however far it is set.

        The clock must not be set yet: nodes join one another only while time passes.
        """
        nodes = Nodes(options=lambda: ("--cluster-node-timeout", str(10**13)))
        for node in nodes.all:
            node.env |= self._env
        with nodes, _stopped(nodes.all):
            yield nodes


@contextmanager
def _stopped(servers: Sequence[RedisServer]) -> Iterator[None]:
    """Let *servers* exit by themselves: a kill leaves shared memory of libfaketime behind."""
    try:
        yield
    finally:
        for server in servers:
            server.stop()
