"""Measurements with wrk, and the CPU time that they cost the servers."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TypeVar, cast

from benchmarks import proxies
from benchmarks.fill import HOST
from devkit.http import Headers, bearer, call, encoded, forwarded
from devkit.proc import cpu_us
from devkit.programs import demanded
from devkit.redis_server import RedisServer

_Figures = TypeVar("_Figures")

SCRIPT = Path(__file__).with_name("wrk.lua")
OK, TRIES = 200, 3
FORWARDED_FOR = ("X-Forwarded-For", "192.0.2.7")


@dataclass(frozen=True)
class Mode:
    """A way to send requests, direct or through a *proxy*."""

    connections: int
    proxy: str = ""
    keep_alive: bool = True

    @property
    def name(self) -> str:
        """Return its name on the command line."""
        return f"{self.proxy or ('kept' if self.keep_alive else 'new')}-{self.connections}"

    @property
    def title(self) -> str:
        """Return its title in the tables."""
        if self.proxy:
            return f"Through {proxies.TITLES[self.proxy]}, {self.connections} at a time"
        way = "keep-alive" if self.keep_alive else "a new connection for each request"
        return f"Direct, {way}, {self.connections} at a time"


@dataclass(frozen=True)
class Meter:
    """The processes whose CPU time is divided by the number of requests."""

    server: int
    redis: RedisServer
    proxy: int = 0

    def read(self) -> tuple[float, ...]:
        """Return the microseconds of server, proxy, Redis and its scripts so far, and the runs of those."""
        stats = self.redis.client().info("commandstats").get("cmdstat_evalsha", {})
        script = stats.get("usec", 0), stats.get("calls", 0)
        return cpu_us(self.server), self.proxy and cpu_us(self.proxy), cpu_us(self.redis.pid), *script


@dataclass(frozen=True)
class Sample:
    """The figures of one run, or the medians of several."""

    per_second: float
    p50_us: float
    p99_us: float
    p999_us: float
    server_us: float
    proxy_us: float
    redis_us: float
    script_us: float  # of each run of a script, as Redis reports it
    failed: float  # the share of answers other than 200

    @property
    def is_fair(self) -> bool:
        """Return whether every answer was a 200."""
        return not self.failed


def medians(samples: Sequence[_Figures]) -> _Figures:
    """Return the median of each figure; a sample is a data class of numbers."""
    figures = zip(*(vars(one).values() for one in samples), strict=True)
    return type(samples[0])(*map(median, figures))


def per_second(seen: Mapping[str, int]) -> float:
    """Return the rate in the figures of wrk.lua."""
    return seen["requests"] * 1_000_000 / seen["duration_us"]


class Wrk:
    """A run of wrk in one mode, whose requests take turns with many tokens."""

    def __init__(self, mode: Mode, file: Path, secrets: Sequence[str]) -> None:
        self._mode = mode
        self._secrets = secrets
        self.file = file
        file.write_bytes(b"\0".join(encoded(self._target, self._headers(secret)) for secret in secrets))

    def run(self, port: int, seconds: int) -> dict[str, int]:
        """Send requests for *seconds* and return the figures of wrk.lua."""
        size = ("-t1", f"-c{self._mode.connections}", f"-d{seconds}s", "--timeout=10s", f"-s{SCRIPT}")
        argv = (demanded("wrk"), *size, f"http://127.0.0.1:{port}/", "--", str(self.file))
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
        return "/" if self._mode.proxy else "/auth"

    def _headers(self, secret: str) -> Headers:
        direct = [] if self._mode.proxy else [*forwarded(HOST), FORWARDED_FOR]
        close = [] if self._mode.keep_alive else [("Connection", "close")]
        return [("Host", HOST), ("User-Agent", "wrk"), *bearer(secret), *direct, *close]


@contextmanager
def prepared(modes: Sequence[Mode], secrets: Sequence[str]) -> Iterator[dict[Mode, Wrk]]:
    """Yield a Wrk for each mode, and remove its files afterwards."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        yield {mode: Wrk(mode, Path(directory) / str(n), secrets) for n, mode in enumerate(modes)}


def measure(wrk: Wrk, port: int, seconds: int, meter: Meter) -> Sample:
    """Measure the server or proxy on *port*.

    Repeats the run a few times if not every answer was a 200, as may happen on a busy machine.
    """
    sample = _measure(wrk, port, seconds, meter)
    for _ in range(TRIES - 1):
        if sample.is_fair:
            break
        again = _measure(wrk, port, seconds, meter)
        sample = min(sample, again, key=lambda one: one.failed)
    return sample


def _measure(wrk: Wrk, port: int, seconds: int, meter: Meter) -> Sample:
    """Run *wrk* and divide the CPU time of all process trees by the number of requests."""
    wrk.check(port)
    before = meter.read()
    seen = wrk.run(port, seconds)
    spent = [now - then for now, then in zip(meter.read(), before, strict=True)]
    server_us, proxy_us, redis_us, script_us, scripts = spent
    count = max(1, seen["requests"])
    failed = (seen["refused"] + seen["broken"]) / count if seen["requests"] else 1.0
    return Sample(
        per_second(seen),
        seen["p50_us"],
        seen["p99_us"],
        seen["p999_us"],
        server_us / count,
        proxy_us / count,
        redis_us / count,
        script_us / scripts if scripts * 2 > count else 0.0,  # others run scripts too, but few
        failed,
    )
