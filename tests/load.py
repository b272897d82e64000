"""Clients that go on asking while something happens to the service, for tests and drills."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from typing import Any, Self

from tests.harness import PATIENCE_S, Answer, Connection, Door, Headers, Traefik, call

LAST_CALL_S = 0.3  # how long a worker that stops listens to the connections that it has


class LateError(OSError):
    """A worker that stops did not answer a request that came long after the one before it.

    A busy machine makes clients late. Whatever keeps HTTP connections open has to ask again then.
    """


class Load:
    """Clients that ask one request after another while a block runs, and count what they get."""

    def __init__(self, port: int, headers: Headers, clients: int = 8, pause_s: float = 0.0) -> None:
        self.answers: Counter[str] = Counter()
        self.slowest_s = 0.0
        self._port, self._headers, self._pause_s = port, list(headers), pause_s
        self._done = threading.Event()
        self._threads = [threading.Thread(target=self._client) for _ in range(clients)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join()

    @property
    def lost(self) -> dict[str, int]:
        """Return what came instead of 200, and how often."""
        return {
            what: count for what, count in self.answers.items() if what not in {"200", LateError.__name__}
        }

    def wait_for(self, answers: int, deadline_s: float = PATIENCE_S) -> None:
        """Wait until *answers* more have come; raises TimeoutError."""
        enough, end = self.answers.total() + answers, time.monotonic() + deadline_s
        while self.answers.total() < enough:
            if time.monotonic() > end:
                raise TimeoutError(f"{self.answers}")
            time.sleep(0.01)

    def _client(self) -> None:
        while not self._done.is_set():
            try:
                self._converse()
            except OSError as error:
                self.answers[type(error).__name__] += 1
                time.sleep(0.01)

    def _converse(self) -> None:
        """Ask on one connection until the service says that it closes it."""
        before = float("inf")
        with Connection(self._port) as connection:
            while not self._done.is_set():
                began = time.monotonic()
                answer = ask_in_time(connection, self._headers, before)
                before = began
                self.slowest_s = max(self.slowest_s, time.monotonic() - began)
                self.answers[str(answer.status)] += 1
                if answer.headers.get("connection") == "close":
                    return
                time.sleep(self._pause_s)


def ask_in_time(connection: Connection, headers: Headers, before: float) -> Answer:
    """Ask /auth on a connection whose last request began at *before*; raises LateError."""
    asked = time.monotonic()
    try:
        connection.ask("/auth", headers)
        asked = time.monotonic()
        return connection.read()
    except ConnectionError as error:
        if asked - before > LAST_CALL_S:
            raise LateError from error
        raise


class Balancer(Traefik):
    """Traefik whose ForwardAuth asks an entry point of its own, which spreads over the ports in *pool*."""

    def __init__(self, pool: list[int], backend: int, *, retry: bool = False) -> None:
        super().__init__(0, backend, {"web": Door(), "inner": Door(insecure=True)})
        self._retry = retry
        static = json.loads((self.dir / "static.yml").read_text())
        static["providers"] = {"file": static["providers"]["file"] | {"watch": True}} | {
            "providersThrottleDuration": "100ms"
        }
        self._write("static.yml", static)
        self.spread(pool)

    def replicas(self) -> int:
        """Return how many answer, each known by the realm in its challenge."""
        refused = (call(self.port, "/", [("Host", "a.test")]) for _ in range(10))
        return len({answer.headers.get("www-authenticate") for answer in refused})

    def spread(self, pool: list[int]) -> None:
        """Take *pool* for the ports that are asked from now on."""
        path = self.dir / "dynamic.yml"
        http: dict[str, Any] = json.loads(path.read_text())["http"]
        http["middlewares"]["web"]["forwardAuth"]["address"] = f"http://127.0.0.1:{self.ports['inner']}/auth"
        http["middlewares"]["again"] = {"retry": {"attempts": 2}}
        http["routers"]["inner"]["service"] = "replicas"
        http["routers"]["inner"]["middlewares"] = ["again"] if self._retry else []
        probe = {"path": "/livez", "interval": "200ms", "timeout": "1s"}
        balancer = {"servers": [{"url": f"http://127.0.0.1:{port}"} for port in pool]}
        http["services"]["replicas"] = {"loadBalancer": balancer | {"healthCheck": probe}}
        self._write("new.json", {"http": http})
        (self.dir / "new.json").replace(path)  # in one step, or Traefik may read half of it
