"""What every contender has to do before it is measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from app.core import tokens
from benchmarks.fill import HOST
from benchmarks.lineup import Contender, Terms
from devkit.http import Answer, Connection, Headers, bearer, forwarded
from devkit.redis_server import RedisServer
from devkit.service import record_key

LIMIT, WINDOW_S = 3, 600


class Case(NamedTuple):
    """A request and what has to be true of its answer."""

    name: str
    headers: Headers
    holds: Callable[[Answer], bool]
    host: str = HOST


def problems(contender: Contender) -> list[str]:
    """Return what the contender does wrong, with a Redis of its own that is stopped at the end."""
    with (
        RedisServer() as redis,
        contender.start(Terms(redis.port, limit=LIMIT, window_s=WINDOW_S)) as server,
    ):
        known, spent = tokens.mint("acl"), tokens.mint("acl")
        for secret in (known, spent):
            redis.client().hset(record_key(secret), "hosts", f"other.test,{HOST}")
        with Connection(server.port) as connection:
            found = list(_broken(connection, [*_cases(known), *_limit(spent)]))
        redis.kill()
        with Connection(server.port) as connection:
            down = Case("no Redis", bearer(known), lambda answer: answer.status >= 500)  # noqa: PLR2004
            return [*found, *_broken(connection, [down])]


def _broken(connection: Connection, cases: list[Case]) -> Iterator[str]:
    for case in cases:
        answer = connection.call("/auth", [*forwarded(case.host), *case.headers])
        if not case.holds(answer):
            yield f"{case.name}: {answer.status} {answer.headers}"


def _cases(secret: str) -> list[Case]:
    return [
        Case("no token", [], _is_challenge),
        Case("another scheme", [("Authorization", f"Basic {secret}")], _is_challenge),
        Case("an unknown token", bearer(tokens.mint("acl")), _is_challenge),
        Case("another host", bearer(secret), lambda answer: answer.status == 403, "b.test"),  # noqa: PLR2004
        Case("a known token", bearer(secret), _is_allowed),
        Case("the scheme in capitals", [("Authorization", f"BEARER {secret}")], _is_allowed),
    ]


def _limit(secret: str) -> list[Case]:
    within = [Case(f"request {n + 1} of {LIMIT}", bearer(secret), _is_allowed) for n in range(LIMIT)]
    return [*within, Case("one request too many", bearer(secret), _is_limited)]


def _is_challenge(answer: Answer) -> bool:
    return answer.status == 401 and "bearer" in answer.headers.get("www-authenticate", "").lower()  # noqa: PLR2004


def _is_allowed(answer: Answer) -> bool:
    return answer.status == 200  # noqa: PLR2004


def _is_limited(answer: Answer) -> bool:
    return answer.status == 429 and 0 < int(answer.headers.get("retry-after", "0")) <= WINDOW_S  # noqa: PLR2004
