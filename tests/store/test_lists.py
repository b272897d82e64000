"""Host lists of every length and spelling: which requests they allow, and their cost in Redis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from app.core.hosts import covering_patterns
from app.core.limits import Limit
from app.core.list_kinds import Hosts
from app.core.verdicts import Verdict
from app.store import keys
from app.store.ledger import RedisLedger
from app.store.pepper_check import PepperCheck
from devkit.builders import candidates

DIGEST = "ab" * 32
DEEP = ".".join("a" * 121)
REQUESTS = ("b.test", "a.test", f"{'x' * 60}.long.test", DEEP, f"{DEEP}.test", "c.d.e.f.g.h.i.j.k.l.m.b.test")


def padded(number: int) -> str:
    """Return a host name of 249 characters."""
    return f"n{number:03d}." + ".".join(["y" * 60] * 4)


FULL = [padded(number)[:249] for number in range(99)]
LISTS: dict[str, list[str]] = {
    "one": ["b.test"],
    "one that is long": [".".join(["x" * 60, "y" * 60, "z" * 60, "w" * 60]) + ".long.test"],
    "one of 255 characters": ["*." + DEEP],
    "short": ["x.test", "*.b.test", "a.test"],
    "first of many": ["b.test", *FULL],
    "last of many": [*FULL, "b.test"],
    "last of few that are long": [*FULL[:2], "*.test"],
    "in the middle": [*FULL[:50], "*.m.b.test", *FULL[50:]],
    "wildcards": [f"*.{name[:247]}" for name in FULL] + [f"*.{DEEP[2:]}"],
    "any": [*FULL, "*"],
    "none": FULL,
    "nearly": [*(f"{name}b.test" for name in FULL[:9]), "b.tes", ".b.test", "xb.test", "b.test.x", "*b.test"],
}
SPELLINGS: dict[str, Callable[[list[str]], str]] = {
    "canonical": ",".join,
    "spaces after": ", ".join,
    "spaces around": lambda names: " , ".join(["", *names, ""]),
    "capitals": lambda names: ",".join(names).upper(),
    "one capital at the end": lambda names: ",".join([*names[:-1], names[-1][:-1] + names[-1][-1:].upper()]),
    "lines": lambda names: "\t" + ",\r\n".join(names) + "\n",
    "empty entries": lambda names: ",,".join(["", *names, " ", ""]),
}


def ledger(client: Any) -> RedisLedger:
    """Return a ledger without a rate limit."""
    return RedisLedger(client, PepperCheck(client, ["f"]), Limit(0, 60), deadline_s=5)


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("names", LISTS)
def test_list_allows_what_the_table_shows(client: Any, names: str, spelling: str) -> None:
    """A list of any length and spelling allows exactly the hosts that the table shows."""
    stored = SPELLINGS[spelling](LISTS[names])
    client.hset(keys.record(DIGEST), "hosts", stored)

    for host in REQUESTS:
        patterns = covering_patterns(host)
        expected = not set(patterns).isdisjoint(Hosts().from_record(stored))
        verdict = ledger(client).take([DIGEST], candidates(hosts=patterns)).verdict
        assert (verdict is Verdict.ALLOWED) is expected, (host, verdict)


def cost_us(client: Any, call: Callable[[], Any]) -> float:
    """Return the minimum time in microseconds that Redis spends on the script of *call*."""
    costs: list[float] = []
    for _ in range(7):
        client.config_resetstat()
        for _ in range(20):
            call()
        costs.append(client.info("commandstats")["cmdstat_evalsha"]["usec_per_call"])
    return min(costs)


@pytest.mark.parametrize("host", ["b.test", DEEP])
def test_refusal_is_cheaper_than_normalizing_the_list(real_client: Any, host: str) -> None:
    """Refusing a host costs far less than normalizing the longest list, although it is normalized already.

    Both are measured on the same server, so the comparison does not depend on the machine.
    """
    real_client.hset(keys.record(DIGEST), "hosts", ",".join(FULL))
    gate, patterns = ledger(real_client), covering_patterns(host)
    assert gate.take([DIGEST], candidates(hosts=patterns)).verdict is Verdict.WRONG_HOST
    sha = real_client.script_load("return #redis.call('HGET', KEYS[1], 'hosts'):lower():gsub('%s*,%s*', ',')")

    refusal = cost_us(real_client, lambda: gate.take([DIGEST], candidates(hosts=patterns)))
    normalizing = cost_us(real_client, lambda: real_client.evalsha(sha, 1, keys.record(DIGEST)))

    assert refusal < normalizing / 2
