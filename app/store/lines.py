"""Shared round trips to every node of a Cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from app.core.addresses import Address
from app.store.cluster import Cluster
from app.store.pipeline import Pipeline
from app.store.slots import slot_of


class ClusterLine:
    """Sends EVALSHA and EVAL as Pipeline does, over one shared connection to each node."""

    def __init__(self, cluster: Cluster, open_line: Callable[[Address], Pipeline]) -> None:
        self._cluster = cluster
        self._open_line = open_line
        self._lines: dict[Address, Pipeline] = {}

    def evalsha(self, *args: str | int) -> Any:
        """Run a script that the node knows; raises redis.ResponseError, NoScriptError among them."""
        return self._route(args, "EVALSHA", lambda address: self._line(address).evalsha(*args))

    def eval(self, *args: str | int) -> Any:
        """Run a script by its source; raises redis.ResponseError."""
        return self._route(args, "EVAL", lambda address: self._line(address).eval(*args))

    def close(self) -> None:
        """Let all connections go, and whoever waits on them."""
        for line in self._lines.values():
            line.close()

    def _route(self, args: Sequence[str | int], verb: str, send: Callable[[Address], Any]) -> Any:
        _, _, key, *_ = args
        return self._cluster.slots.route(
            slot_of(str(key)), send, lambda address: self._cluster.ask(address, verb, *args)
        )

    def _line(self, address: Address) -> Pipeline:
        if address not in self._lines:
            self._lines[address] = self._open_line(address)
        return self._lines[address]
