"""Thousands of requests that must not reach a backend, and now and then one that must."""

from __future__ import annotations

import random
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, Self

from devkit import corpus
from devkit.wire import bearer, first_status, request

_METHODS = [b"GET", b"OPTIONS", b"POST", b"PUT", b"DELETE", b"TRACE", b"PATCH", b"PROPFIND", b"X"]
_NAMES = [
    b"Authorization",
    b"Cookie",
    b"Accept",
    b"X-Forwarded-Host",
    b"User-Agent",
    b"Content-Type",
    b"Connection",
]
_CLAIMS = ["X-Forwarded-Host", "X-Forwarded-Server", "X-Original-Host", "X-Host", "Forwarded"]
_HIDDEN = request(corpus.PLAIN, b"Host: a.test", line=b"GET /hidden HTTP/1.1")
_CONTROL_EVERY = 50
_SILENCE_S = 10
CONTROL = "good token"
_REFUSED, _PAIR, _CLAIM = (
    "no token, an unknown one, one of another host",
    "two credentials",
    "another host claimed",
)
_SINGLE = {CONTROL, _REFUSED, _PAIR, _CLAIM}  # what nobody takes for several requests
CLOSED, SILENT = 0, 1  # in place of a status


class Shot(NamedTuple):
    """A request to Traefik; a control must reach the backend, any other one must not."""

    kind: str
    data: bytes
    path: str


class Quiver:
    """Makes shots, the same ones for the same seed; *token* opens a.test alone, *other* b.test alone."""

    def __init__(self, seed: int, token: str, other: str) -> None:
        self._seed = seed
        self._random = random.Random(seed)
        self._good, self._other = bearer(token), bearer(other)
        self._credentials = [value.replace(b"%b", token.encode()) for value in corpus.CREDENTIALS]
        self._ends = [list(shapes.values()) for shapes in _shapes()]
        self._lines = list(corpus.LINES.values())
        self._kinds: Mapping[str, Callable[[bytes], bytes]] = {
            _REFUSED: self._refused,
            _PAIR: self._pair,
            _CLAIM: self._claim,
            "any byte in a header": self._byte,
            "unusual request line": self._line,
            "some bytes changed": self._changed,
            "alias, override, hop-by-hop, upgrade": lambda line: self._refused(
                line, self._any(self._ends[0])
            ),
            "malformed head": lambda line: self._refused(line, self._any(self._ends[1])),
            "smuggling": lambda line: self._refused(line, self._any(self._ends[2])),
        }

    def shots(self, count: int) -> Iterator[Shot]:
        """Yield *count* shots, controls among them."""
        kinds = list(self._kinds)
        for number in range(count):
            kind = self._any(kinds) if number % _CONTROL_EVERY else CONTROL
            path = f"/{'control' if kind == CONTROL else 'attack'}/{self._seed}/{number}"
            yield Shot(kind, self._data(kind, path.encode()), path)

    def _data(self, kind: str, path: bytes) -> bytes:
        if kind == CONTROL:
            return request(corpus.PLAIN, b"Host: a.test", self._good, line=b"GET %b HTTP/1.1" % path)
        return self._kinds[kind](b"%b %b HTTP/1.1" % (self._any(_METHODS), path))

    def _refused(self, line: bytes, end: bytes = corpus.PLAIN) -> bytes:
        usual = self._any(
            [
                (b"Host: a.test",),
                (b"Host: a.test", bearer("unknown")),
                (b"Host: a.test", self._other),
                (b"Host: b.test", self._good),
            ]
        )
        return request(end, *usual, line=line)

    def _pair(self, line: bytes) -> bytes:
        values = [self._any(self._credentials), self._any(self._credentials)]
        return request(
            corpus.PLAIN, b"Host: a.test", *(b"Authorization: " + value for value in values), line=line
        )

    def _claim(self, line: bytes) -> bytes:
        name = self._any([*_CLAIMS, *corpus.alias_names(self._any(_CLAIMS))])
        value = "host=a.test" if name == "Forwarded" else "a.test"
        return request(corpus.PLAIN, b"Host: b.test", self._good, f"{name}: {value}".encode(), line=line)

    def _byte(self, line: bytes) -> bytes:
        name, value = self._any(_NAMES), b"Bearer x"
        at = self._random.randint(0, len(value))
        odd = value[:at] + self._random.randbytes(1) + value[at:]
        return request(corpus.PLAIN, b"Host: a.test", name + b": " + odd, line=line)

    def _line(self, line: bytes) -> bytes:
        shape = self._any(self._lines).replace(b"PATH", line.split()[1])
        return request(corpus.PLAIN, b"Host: a.test", bearer("unknown"), line=shape)

    def _changed(self, line: bytes) -> bytes:
        data = bytearray(request(corpus.PLAIN, b"Host: a.test", bearer("unknown"), line=line))
        for _ in range(self._random.randint(1, 4)):
            data[self._random.randrange(len(data) - 4)] = self._random.randrange(256)
        return bytes(data)

    def _any(self, values: Sequence[Any]) -> Any:
        return self._random.choice(values)


def _shapes() -> list[dict[str, bytes]]:
    return [corpus.remarks(), corpus.malformed(), corpus.smuggling(_HIDDEN)]


class Tally(NamedTuple):
    """What came back: how often each status for each kind; and what was sent: the kind of each path."""

    counts: Counter[tuple[str, int]]
    paths: dict[str, str]

    @property
    def controls(self) -> Counter[str]:
        """Return the paths that the backend must see, each once."""
        return Counter(path for path, kind in self.paths.items() if kind == CONTROL)

    def kind_of(self, path: str) -> str:
        """Return what was sent to *path*."""
        return self.paths.get(path, "")

    def kinds(self) -> dict[str, Counter[int]]:
        """Return for each kind how often each status came."""
        kinds: dict[str, Counter[int]] = {}
        for (kind, status), count in sorted(self.counts.items()):
            kinds.setdefault(kind, Counter())[status] += count
        return kinds


def storm(
    ports: Sequence[int], tokens: tuple[str, str], count: int, seed: int = 0, clients: int = 6
) -> Tally:
    """Send *count* shots from several clients, spread over *ports*; see Quiver for *tokens*."""

    def client(number: int) -> Tally:
        quiver = Quiver(seed * clients + number, *tokens)
        return _fire(ports[number % len(ports)], quiver.shots(count // clients))

    with ThreadPoolExecutor(clients) as pool:
        tallies = list(pool.map(client, range(clients)))
    paths = {path: kind for tally in tallies for path, kind in tally.paths.items()}
    return Tally(sum((tally.counts for tally in tallies), Counter()), paths)


def _fire(port: int, shots: Iterable[Shot]) -> Tally:
    tally = Tally(Counter(), {})
    with Client(port) as client:
        for shot in shots:
            tally.counts[shot.kind, client.send(shot)] += 1
            tally.paths[shot.path] = shot.kind
    return tally


class Client:
    """A connection that is kept as long as it can be told which answer belongs to which request."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket: socket.socket | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._drop()

    def send(self, shot: Shot) -> int:
        """Send *shot* and return the status of the answer, CLOSED or SILENT if there is none."""
        try:
            status, closing = self._exchange(shot)
        except TimeoutError:
            status, closing = SILENT, True
        except ConnectionError:
            status, closing = CLOSED, True
        if closing or shot.kind not in _SINGLE:
            self._drop()
        return status

    def _exchange(self, shot: Shot) -> tuple[int, bool]:
        connection = self._connection()
        connection.settimeout(60 if shot.kind in _SINGLE else _SILENCE_S)
        connection.sendall(shot.data)
        received = b""
        while (status := first_status(received)) is None:
            chunk = connection.recv(65_536)
            if not chunk:
                return CLOSED, True
            received += chunk
        return status, b"Connection: close" in received

    def _connection(self) -> socket.socket:
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._port), 60)
        return self._socket

    def _drop(self) -> None:
        if self._socket:
            self._socket.close()
            self._socket = None
