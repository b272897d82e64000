"""The stage and the rows of drills about processes and clients."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from devkit.backend import Backend
from devkit.load import Load
from devkit.redis_server import RedisServer
from devkit.service import Gunicorn
from devkit.tally import Request, auth

COLUMNS = ("", "what is done", "requests", "answers", "lost", "slowest", "exit", "noted")


class Row(NamedTuple):
    """The row of one drill; *broken* names the promise that did not hold."""

    name: str
    done: str
    answers: Counter[str]
    slowest_s: float
    exit_s: float | None = None
    noted: str = ""
    lost: int = 0
    broken: str = ""

    def cells(self) -> tuple[str, ...]:
        """Return the row as text."""
        answers = ", ".join(f"{count} x {what}" for what, count in sorted(self.answers.items()))
        exit_s = "" if self.exit_s is None else f"{self.exit_s:.1f} s"
        slowest = f"{1000 * self.slowest_s:.0f} ms"
        total = self.answers.total()
        return self.name, self.done, f"{total}", answers, f"{self.lost}", slowest, exit_s, self.noted


class Setup(NamedTuple):
    """A Redis and a backend for all drills; *quick* ones are shorter."""

    redis: RedisServer
    backend: Backend
    quick: bool

    def service(self, *arguments: str, **settings: object) -> Gunicorn:
        """Return a service of two workers, not yet started, with *arguments* to gunicorn.

        Its deadline is long, because a busy machine takes longer to decide.
        """
        common = {"web_concurrency": 2, "rate_limit_max": 0, "redis_deadline_ms": 5_000}
        extra = {"gunicorn_cmd_args": " ".join(arguments)} if arguments else {}
        return Gunicorn(self.redis.port, **(common | extra | settings))


def request(service: Gunicorn) -> Request:
    """Return a request with a new token of *service*."""
    return auth("/auth", service.issue("a.test"))


def row(name: str, done: str, load: Load, allowed: int = 0, **more: object) -> Row:
    """Return the row of a drill in which no more than *allowed* requests may be lost."""
    tally = load.tally
    lost = tally.lost.total()
    broken = f"{lost} requests were lost ({dict(tally.lost)})" if lost > allowed else ""
    return Row(name, done, tally.outcomes, tally.slowest_s, lost=lost, broken=broken, **more)  # type: ignore[arg-type]
