"""Free loopback ports, and the state of the sockets on a port."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_claims: list[socket.socket] = []


def _own_ports() -> Iterator[int]:
    """Yield ports that no other test run on this machine uses, because it finds their block claimed.

    They are below the ephemeral range, so that no outgoing connection takes one while its server is down.
    """
    for block in random.sample(range(10_000, 32_000, 100), 220):
        claim = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            claim.bind(("127.0.0.1", block))
        except OSError:
            claim.close()
        else:
            _claims.append(claim)
            yield from range(block, block + 100)


_ports = _own_ports()


def free_port() -> int:
    """Return a free loopback port, a different one each time."""
    for port in _ports:
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise RuntimeError("every port is taken")


def listens(port: int) -> bool:
    """Return whether a process listens on a loopback port, without connecting to it."""
    return any(state == "0A" for state, _ in _sockets(port))


def unread(port: int) -> int:
    """Return how many bytes were received on a loopback port and not yet read by its process."""
    return sum(waiting for state, waiting in _sockets(port) if state != "0A")


def _sockets(port: int) -> Iterator[tuple[str, int]]:
    """Yield for each socket on a port its state, 0A if it listens, and the size of its receive queue."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, _, state, queues, *_ = line.split()
        if int(local.partition(":")[2], 16) == port:
            yield state, int(queues.partition(":")[2], 16)
