"""Shared round trips to every node of a Cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from app.redis_url import Address
from app.store.transport.cluster import Cluster, key_of
from app.store.transport.pipeline import Pipeline
from app.store.transport.slots import slot_of


class ClusterLine:
    """Sends commands as Pipeline does, over one shared connection to each node."""

    def __init__(self, cluster: Cluster, open_line: Callable[[Address], Pipeline]) -> None:
        self.slots = cluster.slots
        self._cluster = cluster
        self._open_line = open_line
        self._lines: dict[Address, Pipeline] = {}

    def evalsha(self, *args: str | int) -> Any:
        """Run a script that the node knows; raises redis.ResponseError, NoScriptError among them."""
        return self.execute_command("EVALSHA", *args)

    def eval(self, *args: str | int) -> Any:
        """Run a script by its source; raises redis.ResponseError."""
        return self.execute_command("EVAL", *args)

    def execute_command(self, *args: Any) -> Any:
        """Send one command that has a key to the node of that key."""
        return self.slots.route(
            slot_of(key_of(args)),
            lambda address: self.at(address).execute_command(*args),
            lambda address: self._cluster.ask(address, *args),
        )

    def close(self) -> None:
        """Let all connections go, and whoever waits on them."""
        for line in self._lines.values():
            line.close()

    def at(self, address: Address) -> Pipeline:
        """Return the line to one node."""
        if address not in self._lines:
            self._lines[address] = self._open_line(address)
        return self._lines[address]
