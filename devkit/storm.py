"""Thousands of requests that must not reach a backend, and a few that must."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from devkit import corpus
from devkit.load import send_each
from devkit.tally import Request, Tally
from devkit.wire import bearer, request

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
CONTROL = "good token"
_REFUSED, _PAIR, _CLAIM = (
    "no token, an unknown one, one of another host",
    "two credentials",
    "another host claimed",
)
_PLAIN = {CONTROL, _REFUSED, _PAIR, _CLAIM}  # every server takes each of them for one request


class Generator:
    """Generates requests, the same ones for the same seed; *token* opens only a.test, *other* only b.test."""

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

    def requests(self, count: int) -> Iterator[Request]:
        """Yield *count* requests; a control must reach the backend, any other one must not."""
        kinds = list(self._kinds)
        for number in range(count):
            kind = self._any(kinds) if number % _CONTROL_EVERY else CONTROL
            path = f"/{'control' if kind == CONTROL else 'attack'}/{self._seed}/{number}"
            yield Request(kind, self._data(kind, path.encode()), path=path, is_odd=kind not in _PLAIN)

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


def storm(
    ports: Sequence[int], tokens: tuple[str, str], count: int, seed: int = 0, clients: int = 6
) -> Tally:
    """Send *count* requests from several clients, spread over *ports*; see Generator for *tokens*."""
    generators = [Generator(seed * clients + number, *tokens) for number in range(clients)]
    return send_each(ports, [generator.requests(count // clients) for generator in generators])


def controls(tally: Tally) -> Counter[str]:
    """Return the paths that the backend must see, each once."""
    return Counter(exchange.request.path for exchange in tally.named(CONTROL))
