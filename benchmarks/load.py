"""Load from wrk, and what it cost the servers."""

from __future__ import annotations

import json
import os
import shutil
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
from devkit.http import Connection, Headers, bearer, forwarded
from devkit.process import children

SCRIPT = Path(__file__).with_name("load.lua")
OK, TRIES = 200, 3
MICROSECONDS_PER_TICK = 1_000_000 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Mode:
    """A way to send requests."""

    connections: int
    via_traefik: bool = False
    keep_alive: bool = True

    @property
    def title(self) -> str:
        """Return its name for people."""
        if self.via_traefik:
            return f"Through Traefik, {self.connections} at a time"
        way = "keep-alive" if self.keep_alive else "a new connection for each request"
        return f"Direct, {way}, {self.connections} at a time"


@dataclass(frozen=True)
class Sample:
    """What one run showed, or the medians of several."""

    per_second: float
    p50_us: float
    p99_us: float
    p999_us: float
    server_us: float
    redis_us: float
    failed: float  # the share of answers that were no 200

    @property
    def is_fair(self) -> bool:
        """Tell whether every answer was a 200."""
        return not self.failed


def medians(samples: Sequence[Sample]) -> Sample:
    """Return the median of each figure."""
    return Sample(*(median(figures) for figures in zip(*(vars(s).values() for s in samples), strict=True)))


class Load:
    """The requests of many tokens, for one mode."""

    def __init__(self, mode: Mode, file: Path, texts: Sequence[str]) -> None:
        self._mode = mode
        self._texts = texts
        self._file = file
        file.write_bytes(b"\0".join(self._raw(text) for text in texts))

    def run(self, port: int, seconds: int) -> dict[str, int]:
        """Send requests for *seconds* and return what wrk saw."""
        size = ("-t1", f"-c{self._mode.connections}", f"-d{seconds}s", "--timeout=10s", f"-s{SCRIPT}")
        argv = (_wrk(), *size, f"http://127.0.0.1:{port}/", "--", str(self._file))
        output = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
        return cast("dict[str, int]", json.loads(output.splitlines()[-1]))

    def check(self, port: int) -> None:
        """Send one request; ends the program unless the answer is 200, now or soon."""
        statuses = [self._ask(port)]
        while statuses[-1] != OK:
            if len(statuses) == TRIES:
                sys.exit(f"{self._mode.title}: the answers are {statuses}, not {OK}.")
            time.sleep(1)
            statuses.append(self._ask(port))

    def _ask(self, port: int) -> int:
        with Connection(port) as connection:
            return connection.call(self._target, self._headers(self._texts[0])).status

    @property
    def _target(self) -> str:
        return "/" if self._mode.via_traefik else "/auth"

    def _headers(self, text: str) -> Headers:
        direct = [] if self._mode.via_traefik else forwarded(HOST)
        close = [] if self._mode.keep_alive else [("Connection", "close")]
        return [("Host", HOST), ("User-Agent", "wrk"), *bearer(text), *direct, *close]

    def _raw(self, text: str) -> bytes:
        fields = "".join(f"{name}: {value}\r\n" for name, value in self._headers(text))
        return f"GET {self._target} HTTP/1.1\r\n{fields}\r\n".encode()


@contextmanager
def loads(modes: Sequence[Mode], texts: Sequence[str]) -> Iterator[dict[Mode, Load]]:
    """Give a load for each mode."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        yield {mode: Load(mode, Path(directory) / str(n), texts) for n, mode in enumerate(modes)}


def measure(load: Load, port: int, seconds: int, server: int, redis: int) -> Sample:
    """Measure again, a few times, if not every answer was a 200, as may happen on a busy machine."""
    sample = _measure(load, port, seconds, server, redis)
    for _ in range(TRIES - 1):
        if sample.is_fair:
            break
        again = _measure(load, port, seconds, server, redis)
        sample = min(sample, again, key=lambda one: one.failed)
    return sample


def _measure(load: Load, port: int, seconds: int, server: int, redis: int) -> Sample:
    """Run *load* against *port* and divide the CPU time of two process trees by its requests."""
    load.check(port)
    before = cpu_us(server), cpu_us(redis)
    seen = load.run(port, seconds)
    used = cpu_us(server) - before[0], cpu_us(redis) - before[1]
    count = max(1, seen["requests"])
    latencies = seen["p50_us"], seen["p99_us"], seen["p999_us"]
    failed = (seen["refused"] + seen["broken"]) / count if seen["requests"] else 1.0
    return Sample(
        count * 1_000_000 / seen["duration_us"], *latencies, used[0] / count, used[1] / count, failed
    )


def cpu_us(pid: int) -> float:
    """Return the CPU time of a process and its descendants, in microseconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    own = int(fields[11]) + int(fields[12])  # utime and stime
    return own * MICROSECONDS_PER_TICK + sum(map(cpu_us, children(pid)))


def _wrk() -> str:
    return shutil.which("wrk") or sys.exit("The benchmarks need wrk on the PATH.")
