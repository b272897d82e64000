"""Lua scripts that ship as files of this package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from hashlib import sha1
from importlib.resources import files
from typing import Any

import redis

from app.store.transport.cluster_pipeline import Executor
from app.store.transport.commands import ARGUMENTS, called

CHANGE = ("whole", "trail")  # what each script includes that changes a token


class Script:
    """One file of ``lua/``; its source is sent only to a server that does not have it cached.

    The code of *included*, other files, stands between the first line, which has the flags, and the rest.
    """

    def __init__(self, name: str, *included: str) -> None:
        flags, _, rest = _read(name).partition("\n")
        source = "\n".join([flags, *map(_read, included), rest])
        commands = " ".join(f"{each} {ARGUMENTS[each]}" for each in sorted(called(source)))
        self.source = source.replace("@COMMANDS@", commands)
        self.sha = sha1(self.source.encode(), usedforsecurity=False).hexdigest()

    def run(self, client: Executor, keys: Sequence[str], args: Sequence[Any]) -> Any:
        """Run the script once and return its reply; raises redis.ResponseError.

        The second call repeats nothing: a server that answers NOSCRIPT has not run the script.
        """
        try:
            return client.evalsha(self.sha, len(keys), *keys, *args)
        except redis.exceptions.NoScriptError:
            return client.eval(self.source, len(keys), *keys, *args)


@cache
def _read(name: str) -> str:
    return files("app.store").joinpath("lua", f"{name}.lua").read_text("ascii")


def flat(fields: Mapping[str, str]) -> list[str]:
    """Return *fields* as script arguments: name, value, name, value."""
    return [text for pair in fields.items() for text in pair]
