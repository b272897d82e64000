"""Requests of a load and the tally of their answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from devkit.http import Headers, bearer, encoded, forwarded

NO_ANSWER = 0
LATE = "LateError"  # a request that came too late for a worker that stops, see devkit.load


@dataclass(frozen=True)
class Request:
    """A request and the status that it gets when all is well.

    An *odd* one may be taken for several requests, or for half a one: its connection is not used again.
    """

    name: str
    data: bytes
    expected: int = 200
    path: str = ""  # where several requests have the same name
    is_odd: bool = False


def auth(name: str, token: str | None, expected: int = 200, host: str = "a.test") -> Request:
    """Return a GET /auth as Traefik sends it."""
    return get(name, "/auth", [*forwarded(host), *bearer(token)], expected)


def livez() -> Request:
    """Return a GET /livez as Kubernetes sends it."""
    return get("/livez", "/livez")


def get(name: str, target: str, headers: Headers = (), expected: int = 200) -> Request:
    """Return a GET of *target*."""
    return Request(name, encoded(target, headers), expected)


class Exchange(NamedTuple):
    """One request and its outcome; the times are monotonic seconds.

    Without an answer the status is NO_ANSWER, and *error* is the name of the exception.
    """

    began: float
    ended: float
    request: Request
    status: int
    error: str = ""

    @property
    def seconds(self) -> float:
        """Return how long the answer took."""
        return self.ended - self.began

    @property
    def outcome(self) -> str:
        """Return the status, or the name of the error."""
        return self.error or str(self.status)


class Tally:
    """Exchanges, counted and measured."""

    def __init__(self, exchanges: Iterable[Exchange] = ()) -> None:
        self.exchanges = list(exchanges)

    def __len__(self) -> int:
        return len(self.exchanges)

    def __iter__(self) -> Iterator[Exchange]:
        return iter(list(self.exchanges))  # which may grow meanwhile

    def __repr__(self) -> str:
        return f"Tally({self.outcomes})"

    def __str__(self) -> str:
        counts = (f"{status or 'none'}: {count}" for status, count in sorted(self.statuses.items()))
        return ", ".join(counts) or "-"

    @property
    def statuses(self) -> Counter[int]:
        """Return how often each status came."""
        return Counter(exchange.status for exchange in self)

    @property
    def outcomes(self) -> Counter[str]:
        """Return how often each status or error came."""
        return Counter(exchange.outcome for exchange in self)

    @property
    def lost(self) -> Counter[str]:
        """Return the outcomes that were not expected, but for requests that a client sent too late."""
        return Counter(each.outcome for each in self.unexpected() if each.error != LATE)

    def unexpected(self, *tolerated: int) -> Tally:
        """Return the exchanges whose status is neither the expected one nor *tolerated*."""
        return self.where(lambda each: each.status not in {each.request.expected, *tolerated})

    def where(self, is_wanted: Callable[[Exchange], bool]) -> Tally:
        """Return the exchanges that *is_wanted* accepts."""
        return Tally(filter(is_wanted, self))

    def named(self, name: str) -> Tally:
        """Return the exchanges of the requests with that name."""
        return self.where(lambda each: each.request.name == name)

    def between(self, began: float, ended: float = float("inf")) -> Tally:
        """Return the exchanges that began in a period."""
        return self.where(lambda each: began <= each.began < ended)

    def by_name(self) -> dict[str, Tally]:
        """Return a tally for each name, in alphabetical order."""
        return {name: self.named(name) for name in sorted({each.request.name for each in self})}

    def percentile_ms(self, percent: float) -> float:
        """Return how many milliseconds *percent* of the answers took at most, 0 if there are none."""
        ordered = sorted(exchange.seconds for exchange in self)
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] * 1000 if ordered else 0.0

    @property
    def slowest_s(self) -> float:
        """Return how many seconds the slowest answer took."""
        return max((exchange.seconds for exchange in self if not exchange.error), default=0.0)
