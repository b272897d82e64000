"""Measurements at a constant rate, by a client in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass

from benchmarks.wrk import Wrk, per_second
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
    return per_second(wrk.run(port, seconds))


def at_rate(wrk: Wrk, port: int, rate: float, seconds: float) -> Latency:
    """Send the requests of *wrk* at a constant *rate* per second."""
    command = (sys.executable, "-m", "benchmarks.constant_rate", port, rate, seconds, wrk.file)
    argv = list(map(str, command))
    output = subprocess.run(argv, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return Latency(**json.loads(output))
