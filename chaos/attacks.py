"""Attacks through Traefik and floods of unknown tokens, neither of which may get through."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from chaos.report import Table
from devkit.backend import Backend
from devkit.flood import Size, flood, size
from devkit.redis_server import RedisServer
from devkit.service import Gunicorn
from devkit.storm import CONTROL, controls, storm
from devkit.tally import Exchange, Tally
from devkit.traefik import EntryPoint, Traefik

SHIPPED = "shipped settings"
ENTRY_POINTS = {
    SHIPPED: EntryPoint(),
    "forwardedHeaders.insecure": EntryPoint(insecure=True),
    "every header forwarded": EntryPoint(options={"authRequestHeaders": []}),
    "preserveRequestMethod": EntryPoint(options={"preserveRequestMethod": True}),
}
OPTIONS = {"redis_deadline_ms": 5000, "log_level": "warning"}  # because a busy machine takes longer to decide
MEGABYTE = 1_000_000


def tables(quick: bool) -> list[Table]:  # noqa: FBT001 - a flag of the command line
    """Attack through Traefik, then flood the service with unknown tokens."""
    return [through_traefik(2_048 if quick else 102_400), unknown_tokens(20_000 if quick else 1_000_000)]


def through_traefik(count: int) -> Table:
    """Send *count* requests through Traefik; only those with a good token may reach the backend."""
    with RedisServer() as redis, Gunicorn(redis.port, **OPTIONS) as service, Backend() as backend:
        tokens = service.issue("a.test"), service.issue("b.test")
        with Traefik(service.port, backend.port, ENTRY_POINTS) as traefik:
            tally = storm(list(traefik.ports.values()), tokens, count, clients=8)
        reached = Counter(seen.path for seen in backend.seen)
    attacks = tally.where(_is_attack)
    title = f"{len(attacks):,} attacks through Traefik ({', '.join(ENTRY_POINTS)}), good requests among them"
    columns = ("request", "sent", "reached the backend", "answers")
    return Table(title, columns, list(_rows(tally, reached)), _broken(tally, attacks, reached))


def _is_attack(exchange: Exchange) -> bool:
    return exchange.request.name != CONTROL


def _rows(tally: Tally, reached: Mapping[str, int]) -> Iterator[tuple[str, ...]]:
    for name, sent in tally.by_name().items():
        arrived = sum(reached[exchange.request.path] for exchange in sent)
        yield name, f"{len(sent):,}", f"{arrived:,}", _answers(sent)


def _answers(tally: Tally) -> str:
    silent = TimeoutError.__name__
    counts = Counter(
        (each.status, each.error and ("no answer" if each.error == silent else "closed")) for each in tally
    )
    return ", ".join(f"{error or status}: {count:,}" for (status, error), count in sorted(counts.items()))


def _broken(tally: Tally, attacks: Tally, reached: Counter[str]) -> list[str]:
    astray = (reached - controls(tally)).total()
    lost = (controls(tally) - reached).total()
    opened = sum(200 <= exchange.status < 300 for exchange in attacks)
    errors = sum(exchange.status in {500, 502, 503, 504} for exchange in tally)
    sentences = {
        f"{astray} requests reached the backend that must not": astray,
        f"{lost} good requests did not reach the backend": lost,
        f"{opened} attacks were answered 2xx": opened,
        f"{errors} requests were answered 5xx": errors,
    }
    return [sentence for sentence, number in sentences.items() if number]


def unknown_tokens(count: int) -> Table:
    """Present *count* unknown tokens; Redis must not grow."""
    with RedisServer() as redis, Gunicorn(redis.port, **OPTIONS, web_concurrency=2) as service:
        service.issue("a.test")
        flood(service.port, 2_000)
        before = size(redis.client())
        statuses = flood(service.port, count)
        after = size(redis.client())
    rows: list[tuple[str, ...]] = [
        ("asked /auth, of them 401", f"{sum(statuses.values()):,}, {statuses[401]:,}"),
        ("scripts that Redis ran", f"{after.scripts - before.scripts:,}"),
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
    sentences = {
        "not every unknown token was answered 401": statuses != {401: count},
        "Redis was not asked about each, so its size proves nothing": after.scripts - before.scripts != count,
        "unknown tokens left keys in Redis": after.keys != before.keys,
        "Redis grew by more than a megabyte": after.memory_bytes - before.memory_bytes >= MEGABYTE,
    }
    return [sentence for sentence, is_true in sentences.items() if is_true]
