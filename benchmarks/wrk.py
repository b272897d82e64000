"""Measurements with wrk, and the CPU time that they cost the servers."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import cast

from benchmarks.fill import HOST
from devkit.http import Headers, bearer, call, encoded, forwarded
from devkit.proc import cpu_us
from devkit.programs import demanded

SCRIPT = Path(__file__).with_name("wrk.lua")
OK, TRIES = 200, 3
FORWARDED_FOR = ("X-Forwarded-For", "192.0.2.7")


@dataclass(frozen=True)
class Mode:
    """A way to send requests."""

    connections: int
    via_traefik: bool = False
    keep_alive: bool = True

    @property
    def title(self) -> str:
        """Return its title in the tables."""
        if self.via_traefik:
            return f"Through Traefik, {self.connections} at a time"
        way = "keep-alive" if self.keep_alive else "a new connection for each request"
        return f"Direct, {way}, {self.connections} at a time"


@dataclass(frozen=True)
class Sample:
    """The figures of one run, or the medians of several."""

    per_second: float
    p50_us: float
    p99_us: float
    p999_us: float
    server_us: float
    redis_us: float
    failed: float  # the share of answers other than 200

    @property
    def is_fair(self) -> bool:
        """Return whether every answer was a 200."""
        return not self.failed


def medians(samples: Sequence[Sample]) -> Sample:
    """Return the median of each figure."""
    return Sample(*(median(figures) for figures in zip(*(vars(s).values() for s in samples), strict=True)))


class Wrk:
    """A run of wrk in one mode, whose requests take turns with many tokens."""

    def __init__(self, mode: Mode, file: Path, secrets: Sequence[str]) -> None:
        self._mode = mode
        self._secrets = secrets
        self._file = file
        file.write_bytes(b"\0".join(encoded(self._target, self._headers(secret)) for secret in secrets))

    def run(self, port: int, seconds: int) -> dict[str, int]:
        """Send requests for *seconds* and return the figures of wrk.lua."""
        size = ("-t1", f"-c{self._mode.connections}", f"-d{seconds}s", "--timeout=10s", f"-s{SCRIPT}")
        argv = (demanded("wrk"), *size, f"http://127.0.0.1:{port}/", "--", str(self._file))
        output = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
        return cast("dict[str, int]", json.loads(output.splitlines()[-1]))

    def check(self, port: int) -> None:
        """Send one request, a few times if need be; exits unless the answer is 200."""
        statuses = [self._status(port)]
        while statuses[-1] != OK:
            if len(statuses) == TRIES:
                sys.exit(f"{self._mode.title}: the answers are {statuses}, not {OK}.")
            time.sleep(1)
            statuses.append(self._status(port))

    def _status(self, port: int) -> int:
        return call(port, self._target, self._headers(self._secrets[0])).status

    @property
    def _target(self) -> str:
        return "/" if self._mode.via_traefik else "/auth"

    def _headers(self, secret: str) -> Headers:
        direct = [] if self._mode.via_traefik else [*forwarded(HOST), FORWARDED_FOR]
        close = [] if self._mode.keep_alive else [("Connection", "close")]
        return [("Host", HOST), ("User-Agent", "wrk"), *bearer(secret), *direct, *close]


@contextmanager
def prepared(modes: Sequence[Mode], secrets: Sequence[str]) -> Iterator[dict[Mode, Wrk]]:
    """Yield a Wrk for each mode, and remove its files afterwards."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        yield {mode: Wrk(mode, Path(directory) / str(n), secrets) for n, mode in enumerate(modes)}


def measure(wrk: Wrk, port: int, seconds: int, server: int, redis: int) -> Sample:
    """Measure the server on *port*, given the process ids of it and of its Redis.

    Repeats the run a few times if not every answer was a 200, as may happen on a busy machine.
    """
    sample = _measure(wrk, port, seconds, server, redis)
    for _ in range(TRIES - 1):
        if sample.is_fair:
            break
        again = _measure(wrk, port, seconds, server, redis)
        sample = min(sample, again, key=lambda one: one.failed)
    return sample


def _measure(wrk: Wrk, port: int, seconds: int, server: int, redis: int) -> Sample:
    """Run *wrk* and divide the CPU time of both process trees by the number of requests."""
    wrk.check(port)
    before = cpu_us(server), cpu_us(redis)
    seen = wrk.run(port, seconds)
    used = cpu_us(server) - before[0], cpu_us(redis) - before[1]
    count = max(1, seen["requests"])
    latencies = seen["p50_us"], seen["p99_us"], seen["p999_us"]
    failed = (seen["refused"] + seen["broken"]) / count if seen["requests"] else 1.0
    return Sample(
        count * 1_000_000 / seen["duration_us"], *latencies, used[0] / count, used[1] / count, failed
    )
