"""Tokens as people have them, and difficult ones, for pictures and browser tests."""

from __future__ import annotations

import random
from hashlib import sha256
from typing import Any

from app.core.copies import UsageCopy
from app.store import keys
from app.store.usage import compose
from devkit.service import Gunicorn, record_key

HOURS, DAYS = 48, 90
LONG_HOSTS = ",".join(f"{'a' * 63}.{'b' * 63}.h{number}.example.com" for number in range(9))
_HOUR_S, _DAY_S = 3600, 86_400

# The fields of a token, and its requests in an hour if it was used.
TOKENS: list[tuple[dict[str, str], int]] = [
    (
        {
            "hosts": "ollama.example.com",
            "comment": "Open WebUI",
            "email": "mia@example.com",
            "paths": "/api/*\n/v1/*",
        },
        40,
    ),
    (
        {
            "hosts": "llm.example.com",
            "comment": "Nightly evaluation",
            "quota_max": "50000",
            "quota_period": "day",
        },
        900,
    ),
    (
        {
            "hosts": "metrics.example.com",
            "comment": "Prometheus",
            "methods": "GET",
            "paths": "/metrics",
            "networks": "192.0.2.0/24\n2001:db8::/32",
            "rate_limit_max": "5",
            "rate_limit_window_sec": "60",
        },
        240,
    ),
    ({"hosts": "*.ci.example.com", "comment": "CI, main branch", "ttl_seconds": str(90 * _DAY_S)}, 12),
    ({"hosts": "crawl.example.com", "comment": "Firecrawl for research", "ttl_seconds": str(3 * _DAY_S)}, 3),
    ({"hosts": "old.example.com", "comment": "Contractor, left in May", "enabled": "0"}, 0),
    ({"hosts": "new.example.com", "comment": "From next month on", "not_before": "2099-01-01T00:00:00Z"}, 0),
    (
        {"hosts": "\n".join(f"h{number}.example.com" for number in range(100)), "comment": "A hundred hosts"},
        10**7,
    ),
    (
        {
            "hosts": "a.example.com",
            "comment": "word " * 99 + "end",
            "email": "e" * 50 + ".f" * 40 + "@mail.example.com",
        },
        1,
    ),
    (
        {
            "hosts": "rtl.example.com",
            "comment": "\u05de\u05e4\u05ea\u05d7 API \u05dc\u05e6\u05d5\u05d5\u05ea",
        },
        7,
    ),
    ({"hosts": "app.example.com", "email": "nobody.uses.this@example.com"}, 0),
]


def fill(service: Gunicorn, redis: Any, seed: int = 1) -> dict[str, str]:
    """Create the tokens with their usage and return their ids by comment or else by email address.

    The service needs TRUSTED_PROXIES, because one of them is restricted to networks.
    """
    chance, ids = random.Random(seed), {}
    now_s = int(redis.time()[0])
    for fields, hourly in TOKENS:
        typed = {name: text for name, text in fields.items() if name not in {"hosts", "enabled"}}
        key = record_key(service.issue(fields["hosts"], **typed))
        token_id = redis.hget(key, "id")
        ids[fields.get("comment") or fields["email"]] = token_id
        if "enabled" in fields:
            service.post("/disable_token", token=token_id)
        if hourly:
            use(redis, key.partition(":")[2], now_s, hourly, chance)
    _store_unreadable(redis)
    return ids


def use(redis: Any, digest: str, now_s: int, hourly: int, chance: random.Random) -> None:
    """Store usage as if about *hourly* requests came each hour, more by day than by night."""
    hour = now_s // _HOUR_S
    hours = [
        _counts(chance, hourly * (1 if (hour - HOURS + 1 + n) % 24 in range(7, 20) else 0.2))
        for n in range(HOURS)
    ]
    days = [_counts(chance, hourly * 14) for _ in range(DAYS)]
    usage = UsageCopy(hour, tuple(zip(*hours, strict=True)), tuple(zip(*days, strict=True)))
    redis.set(keys.usage(digest), compose(usage))
    redis.hset(
        keys.record(digest), mapping={"first_used_at": now_s - 80 * _DAY_S, "last_used_at": now_s - 120}
    )


def _counts(chance: random.Random, mean: float) -> tuple[int, int, int, int]:
    """Return the counts of one period: mostly allowed, a few of each refusal."""
    allowed = int(chance.uniform(0.4, 1.6) * mean)
    return allowed, *(int(chance.random() ** 6 * mean * 0.3) for _ in range(3))  # type: ignore[return-value]


def _store_unreadable(redis: Any) -> None:
    """Store records that no form would make: of an older deployment, and of another program."""
    records = [
        {"hosts": "a.test", "rate_limit_max": "unreadable"},
        {"hosts": LONG_HOSTS, "email": "e" * 300},
        {"hosts": ""},
    ]
    for number, fields in enumerate(records):
        redis.hset(keys.record(sha256(str(number).encode()).hexdigest()), mapping=fields)
