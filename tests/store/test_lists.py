"""Lists of hosts of every length and spelling: which requests they open, and what that costs Redis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from app.core.gate import Verdict
from app.core.hosts import covering_patterns
from app.core.kinds import Hosts
from app.core.limits import Limit
from app.store import keys
from app.store.ledger import RedisLedger
from app.store.pepper_check import Canary

DIGEST = "ab" * 32
DEEP = ".".join("a" * 121)
REQUESTS = ("b.test", "a.test", f"{'x' * 60}.long.test", DEEP, f"{DEEP}.test", "c.d.e.f.g.h.i.j.k.l.m.b.test")


def padded(number: int) -> str:
    """Return a name of 249 characters."""
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
    "blanks behind": ", ".join,
    "blanks around": lambda names: " , ".join(["", *names, ""]),
    "capitals": lambda names: ",".join(names).upper(),
    "one capital at the end": lambda names: ",".join([*names[:-1], names[-1][:-1] + names[-1][-1:].upper()]),
    "lines": lambda names: "\t" + ",\r\n".join(names) + "\n",
    "empty entries": lambda names: ",,".join(["", *names, " ", ""]),
}


def ledger(client: Any) -> RedisLedger:
    """Return a ledger without a limit."""
    return RedisLedger(client, Canary(client, ["f"]), Limit(0, 60), deadline_s=5)


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("names", LISTS)
def test_list_is_read_as_it_is_shown(client: Any, names: str, spelling: str) -> None:
    """However long a list is and however it was typed, it opens what the table shows, and nothing else."""
    kept = SPELLINGS[spelling](LISTS[names])
    client.hset(keys.record(DIGEST), "hosts", kept)

    for host in REQUESTS:
        patterns = covering_patterns(host)
        expected = not set(patterns).isdisjoint(Hosts().from_record(kept))
        verdict = ledger(client).take([DIGEST], patterns).verdict
        assert (verdict is Verdict.ALLOWED) is expected, (host, verdict)


def cost_us(client: Any, act: Callable[[], Any]) -> float:
    """Return the least time that Redis spends on the scripts of *act*, of several times."""
    costs: list[float] = []
    for _ in range(7):
        client.config_resetstat()
        for _ in range(20):
            act()
        costs.append(client.info("commandstats")["cmdstat_evalsha"]["usec_per_call"])
    return min(costs)


@pytest.mark.parametrize("host", ["b.test", DEEP])
def test_refusal_is_no_pass_over_the_list(real_client: Any, host: str) -> None:
    """To refuse a host costs far less than to bring the longest list into its canonical form, which it has.

    Both are measured here, on one server: the machine's speed is in both.
    """
    real_client.hset(keys.record(DIGEST), "hosts", ",".join(FULL))
    gate, patterns = ledger(real_client), covering_patterns(host)
    assert gate.take([DIGEST], patterns).verdict is Verdict.WRONG_HOST
    sha = real_client.script_load("return #redis.call('HGET', KEYS[1], 'hosts'):lower():gsub('%s*,%s*', ',')")

    refusal = cost_us(real_client, lambda: gate.take([DIGEST], patterns))
    passing = cost_us(real_client, lambda: real_client.evalsha(sha, 1, keys.record(DIGEST)))

    assert refusal < passing / 2
