"""Clients that go on asking while something happens to the service."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, cycle, islice
from typing import Self

from devkit.http import Answer, Connection, Headers
from devkit.waiting import PATIENCE_S


def hammer(ports: Sequence[int], headers: Headers, clients: int = 50, each: int = 40) -> Counter[int]:
    """Ask /auth from *clients* connections at once, spread over *ports*, and count the statuses."""

    def client(port: int) -> list[int]:
        with Connection(port) as connection:
            return [connection.call("/auth", headers).status for _ in range(each)]

    with ThreadPoolExecutor(clients) as pool:
        return Counter(chain.from_iterable(pool.map(client, islice(cycle(ports), clients))))


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
