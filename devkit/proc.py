"""What /proc says about processes and about the TCP stack of this machine (proc(5))."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Sequence
from pathlib import Path

from devkit.waiting import until

_TICK_US = 1_000_000 / os.sysconf("SC_CLK_TCK")


def children(pid: int) -> list[int]:
    """Return the process ids of the children of a process."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def stop(pids: Sequence[int]) -> None:
    """Stop processes with SIGSTOP, and wait until all are stopped."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    until(lambda: all(map(is_stopped, pids)))


def is_stopped(pid: int) -> bool:
    """Return whether a process is stopped or dead."""
    return _stat(pid)[0] in "TtZX"


def awaits_signal(pid: int, number: int) -> bool:
    """Return whether a signal to a process is pending, as it is while the process is stopped."""
    status = Path(f"/proc/{pid}/status").read_text()
    pending = re.findall(r"^(?:Sig|Shd)Pnd:\s+(\w+)", status, re.MULTILINE)
    return any(int(mask, 16) & 1 << number - 1 for mask in pending)


def cpu_us(pid: int) -> float:
    """Return the CPU time of a process and its descendants, in microseconds."""
    utime, stime = map(int, _stat(pid)[11:13])
    return (utime + stime) * _TICK_US + sum(map(cpu_us, children(pid)))


def rss_bytes(pid: int) -> int:
    """Return the resident set size of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def open_files(pid: int) -> int:
    """Return how many file descriptors a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def tcp_count(name: str) -> int:
    """Return a TCP counter of this machine: AttemptFails, PassiveOpens and others (RFC 4022)."""
    lines = Path("/proc/net/snmp").read_text().splitlines()
    names, values = (line.split() for line in lines if line.startswith("Tcp:"))
    return int(values[names.index(name)])


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the state on."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
