"""Lua scripts as files of this package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha1
from importlib.resources import files
from typing import Any

import redis

from app.store.transport.cluster import Client
from app.store.transport.cluster_pipeline import ClusterLine
from app.store.transport.pipeline import Pipeline


class Script:
    """One file of ``lua/``, sent whole only to a server that doesn't know it yet."""

    def __init__(self, name: str) -> None:
        self.source = files("app.store").joinpath("lua", f"{name}.lua").read_text("ascii")
        self.sha = sha1(self.source.encode(), usedforsecurity=False).hexdigest()

    def run(self, client: Client | Pipeline | ClusterLine, keys: Sequence[str], args: Sequence[Any]) -> Any:
        """Run it once and return Redis' reply; a server that says NOSCRIPT has not run it."""
        try:
            return client.evalsha(self.sha, len(keys), *keys, *args)
        except redis.exceptions.NoScriptError:
            return client.eval(self.source, len(keys), *keys, *args)


def flat(fields: Mapping[str, str]) -> list[str]:
    """Return *fields* as the scripts take them: field, value, field, value."""
    return [text for pair in fields.items() for text in pair]
