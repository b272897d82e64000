"""Measurements at a constant rate, by a client in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass

from benchmarks.wrk import Wrk
from devkit.process import ROOT


@dataclass(frozen=True)
class Latency:
    """The figures of one run, or the medians of several."""

    p50_us: float
    p99_us: float
    p999_us: float
    lag_us: float  # how late the client itself was, 99th percentile
    refused: float
    repeated: float  # requests on connections that the service closed
    requests: float


def highest_rate(wrk: Wrk, port: int, seconds: int) -> float:
    """Return how many requests per second are answered at most."""
    wrk.check(port)
    seen = wrk.run(port, seconds)
    return seen["requests"] * 1_000_000 / seen["duration_us"]


def at_rate(wrk: Wrk, port: int, per_second: float, seconds: float) -> Latency:
    """Send the requests of *wrk* at a constant rate."""
    command = (sys.executable, "-m", "benchmarks.constant_rate", port, per_second, seconds, wrk.file)
    argv = list(map(str, command))
    output = subprocess.run(argv, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return Latency(**json.loads(output))
