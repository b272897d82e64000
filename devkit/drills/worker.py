"""A gevent worker with a pipeline, in which drills run; each prints what its test compares."""

# ruff: noqa: E402 - patched before anything imports redis
from gevent import monkey

monkey.patch_all()

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import gevent
import redis

from app.store.transport.connection import connect, open_pipeline
from devkit.builders import make_settings
from devkit.proc import stop

ECHO = "return {KEYS[1], ARGV[1]}"


class Worker:
    """A pipeline as a worker has it, and control over its Redis server."""

    def __init__(self, port: int, pid: int) -> None:
        self.pid = pid
        self.control: Any = redis.Redis(port=port)
        self.client: Any = connect(make_settings(REDIS_PORT=port, REDIS_DEADLINE_MS=5000), concurrent=True)
        self.pipeline: Any = open_pipeline(self.client, drain_s=60)

    def call(self, number: int, script: str = ECHO, deadline_s: float = 60) -> Any:
        """Run *script* with a key and an argument of its own."""
        with gevent.Timeout(deadline_s):
            return self.pipeline.eval(script, 1, f"key:{number}", number)

    def stop_server(self) -> None:
        """Stop the Redis server, which keeps its connections."""
        stop([self.pid])

    def resume_server(self) -> None:
        """Let the Redis server run on."""
        os.kill(self.pid, signal.SIGCONT)


def reply_to(number: int) -> list[bytes]:
    """Return the reply to the call with that number."""
    return [f"key:{number}".encode(), str(number).encode()]


def errors(jobs: list[Any]) -> str:
    """Return the names of the exceptions of greenlets, each once."""
    return " ".join(sorted({type(job.exception).__name__ for job in jobs}))


def main(*drills: Callable[..., object]) -> None:
    """Run the drill that the command line names: NAME PORT PID …, the latter of a Redis server."""
    name, port, pid, *arguments = sys.argv[1:]
    drill = next(drill for drill in drills if drill.__name__ == name)
    print(drill(Worker(int(port), int(pid)), *arguments))
