"""Shared round trips to every node of a Redis Cluster (docs/decisions/0007 and 0009)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from app.redis_url import Address
from app.store.transport.cluster import Client, Cluster, key_of
from app.store.transport.pipeline import Pipeline
from app.store.transport.slots import slot_of


class ClusterPipeline:
    """Sends commands as Pipeline does, over one shared connection to each node."""

    def __init__(self, cluster: Cluster, open_pipeline: Callable[[Address], Pipeline]) -> None:
        self.slots = cluster.slots
        self._cluster = cluster
        self._open_pipeline = open_pipeline
        self._pipelines: dict[Address, Pipeline] = {}

    def evalsha(self, *args: str | int) -> Any:
        """Run a cached script; raises redis.ResponseError, including NoScriptError."""
        return self.execute_command("EVALSHA", *args)

    def eval(self, *args: str | int) -> Any:
        """Run a script from its source; raises redis.ResponseError."""
        return self.execute_command("EVAL", *args)

    @property
    def waiting(self) -> int:
        """The number of commands that no node has answered yet."""
        return sum(pipeline.waiting for pipeline in self._pipelines.values())

    def execute_command(self, *args: Any) -> Any:
        """Send one command that has a key to the node that serves it, and return the reply."""
        return self.slots.route(
            slot_of(key_of(args)),
            lambda address: self.at(address).execute_command(*args),
            lambda address: self._cluster.ask(address, *args),
        )

    def close(self) -> None:
        """Close every connection; commands in progress fail with redis.ConnectionError."""
        for pipeline in self._pipelines.values():
            pipeline.close()

    def at(self, address: Address) -> Pipeline:
        """Return the pipeline to one node."""
        if address not in self._pipelines:
            self._pipelines[address] = self._open_pipeline(address)
        return self._pipelines[address]


Executor = Client | Pipeline | ClusterPipeline  # all that commands and scripts are sent through
