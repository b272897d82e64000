"""What was sent that must open nothing, how much of it, and what came of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from chaos.report import Table
from devkit.backend import Backend
from devkit.flood import Size, flood, size
from devkit.redis_server import RedisServer
from devkit.service import Gunicorn
from devkit.storm import CLOSED, CONTROL, SILENT, Tally, storm
from devkit.traefik import Door, Traefik

SHIPPED = "shipped settings"
DOORS = {
    SHIPPED: Door(),
    "forwardedHeaders.insecure": Door(insecure=True),
    "every header forwarded": Door(options={"authRequestHeaders": []}),
    "preserveRequestMethod": Door(options={"preserveRequestMethod": True}),
}
OPTIONS = {"redis_deadline_ms": 5000, "log_level": "warning"}  # a busy machine is no attack
WORDS = {CLOSED: "closed", SILENT: "no answer"}
MEGABYTE = 1_000_000


def tables(quick: bool) -> list[Table]:  # noqa: FBT001 - what chaos/__main__.py calls
    """Return what came of requests through Traefik, and of tokens that nobody issued."""
    return [through_traefik(2_048 if quick else 102_400), unknown_tokens(20_000 if quick else 1_000_000)]


def through_traefik(count: int) -> Table:
    """Send *count* requests through Traefik; only those with a good token may reach the backend."""
    with RedisServer() as redis, Gunicorn(redis.port, **OPTIONS) as service, Backend() as backend:
        tokens = service.issue("a.test"), service.issue("b.test")
        with Traefik(service.port, backend.port, DOORS) as traefik:
            tally = storm(list(traefik.ports.values()), tokens, count, clients=8)
        reached = Counter(seen.path for seen in backend.seen)
    attacks = sum(n for (kind, _), n in tally.counts.items() if kind != CONTROL)
    title = f"{attacks:,} attacks through Traefik ({', '.join(DOORS)}), good requests among them"
    columns = ("request", "sent", "reached the backend", "answers")
    return Table(title, columns, _rows(tally, reached), _broken(tally, reached))


def _rows(tally: Tally, reached: Mapping[str, int]) -> list[tuple[str, ...]]:
    return [
        (kind, f"{sum(statuses.values()):,}", f"{_arrived(tally, reached, kind):,}", _said(statuses))
        for kind, statuses in tally.kinds().items()
    ]


def _arrived(tally: Tally, reached: Mapping[str, int], kind: str) -> int:
    return sum(number for path, number in reached.items() if tally.kind_of(path) == kind)


def _said(statuses: Mapping[int, int]) -> str:
    return ", ".join(
        f"{WORDS.get(status, status)}: {number:,}" for status, number in sorted(statuses.items())
    )


def _broken(tally: Tally, reached: Counter[str]) -> list[str]:
    astray = sum((reached - tally.controls).values())
    lost = sum((tally.controls - reached).values())
    opened = sum(n for (kind, status), n in tally.counts.items() if kind != CONTROL and 200 <= status < 300)
    errors = sum(n for (_, status), n in tally.counts.items() if status in {500, 502, 503, 504})
    said = {
        f"{astray} requests reached the backend that must not": astray,
        f"{lost} good requests did not reach the backend": lost,
        f"{opened} attacks were answered 2xx": opened,
        f"{errors} requests were answered 5xx": errors,
    }
    return [sentence for sentence, number in said.items() if number]


def unknown_tokens(count: int) -> Table:
    """Ask about *count* tokens that nobody issued; Redis must stay as it was."""
    with RedisServer() as redis, Gunicorn(redis.port, **OPTIONS, web_concurrency=2) as service:
        service.issue("a.test")
        flood(service.port, 2_000)
        before = size(redis.client())
        statuses = flood(service.port, count)
        after = size(redis.client())
    rows: list[tuple[str, ...]] = [
        ("asked /auth, of them 401", f"{sum(statuses.values()):,}, {statuses[401]:,}"),
        ("scripts that Redis ran", f"{after.asked - before.asked:,}"),
        ("keys in Redis before, after", f"{before.keys:,}, {after.keys:,}"),
        ("memory of Redis before, after", f"{before.memory_bytes:,} B, {after.memory_bytes:,} B"),
    ]
    return Table(
        f"{count:,} tokens that nobody issued",
        ("what", "how much"),
        rows,
        _grown(before, after, statuses, count),
    )


def _grown(before: Size, after: Size, statuses: Counter[int], count: int) -> list[str]:
    said = {
        "not every unknown token was answered 401": statuses != {401: count},
        "Redis was not asked about each, so its size says nothing": after.asked - before.asked != count,
        "unknown tokens left keys in Redis": after.keys != before.keys,
        "Redis grew by more than a megabyte": after.memory_bytes - before.memory_bytes >= MEGABYTE,
    }
    return [sentence for sentence, is_so in said.items() if is_so]
