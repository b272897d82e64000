"""Random sequences of operator actions and requests, on a real server, compared with a simple model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import redis
from hypothesis import settings, strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from app.core.errors import ConflictError, NoSuchTokenError
from app.core.limits import Limit
from app.core.usage import total
from app.core.verdicts import Verdict
from app.store import keys, usage
from devkit.redis_server import RedisServer
from devkit.replica import Replica

HOSTS = st.sampled_from(["a.test", "b.test", "*.test", "*"])
ABSENT = {Verdict.UNKNOWN_TOKEN, Verdict.EXPIRED_TOKEN}
LIMITS = st.integers(0, 4)
TTLS = st.sampled_from(["0", "3600", "7200"])
WINDOW_S = 3600  # longer than any run


@dataclass
class Modeled:
    """The expected state of a token."""

    hosts: str
    limit: int
    secrets: list[str]
    expires: bool
    enabled: bool = True
    quota: int = 0
    admitted: int = 0
    used: int = 0
    allowed: int = 0
    refused: int = 0

    def verdict(self, host: str) -> Verdict:
        """Return the expected verdict for a request to *host*."""
        if not self.enabled:
            return Verdict.DISABLED_TOKEN
        if self.hosts not in {host, "*", f"*.{host.split('.')[1]}"}:
            return Verdict.WRONG_HOST
        if 0 < self.limit <= self.admitted:
            return Verdict.RATE_LIMITED
        return Verdict.QUOTA_EXCEEDED if 0 < self.quota <= self.used else Verdict.ALLOWED

    def note(self, verdict: Verdict) -> None:
        """Record a request that got *verdict*."""
        allowed = verdict is Verdict.ALLOWED
        self.admitted += allowed and self.limit > 0
        self.used += allowed and self.quota > 0
        self.allowed += allowed
        self.refused += not allowed


class Life(RuleBasedStateMachine):
    """Tokens that are created, changed, used and deleted at random."""

    client: ClassVar[Any]
    ids: Bundle[str] = Bundle("ids")

    def __init__(self) -> None:
        super().__init__()
        self.client.flushall()
        self.replica = Replica(self.client, "pepper", limit=Limit(3, WINDOW_S))
        self.model: dict[str, Modeled] = {}
        self.all_secrets: dict[str, list[str]] = {}
        self.expired: dict[str, list[str]] = {}
        self.tampered: set[str] = set()

    @rule(target=ids, hosts=HOSTS, limit=LIMITS, ttl=TTLS)
    def issue(self, hosts: str, limit: int, ttl: str) -> Any:
        """Create a token."""
        name, secret = self.replica.issue(hosts=hosts, rate_limit_max=str(limit), ttl_seconds=ttl)
        self.model[name], self.all_secrets[name] = (
            Modeled(hosts, limit, [secret], expires=ttl != "0"),
            [secret],
        )
        return name

    @rule(name=ids, age=st.integers(0, 3), host=st.sampled_from(["a.test", "b.test", "other.example"]))
    def ask(self, name: str, age: int, host: str) -> None:
        """Use a token, existing or not, with any secret that it ever had."""
        all_secrets = self.all_secrets[name]
        secret, known = all_secrets[-1 - age % len(all_secrets)], self.model.get(name)
        expected = known.verdict(host) if known and secret in known.secrets else Verdict.UNKNOWN_TOKEN
        if secret in self.expired.get(name, []):
            expected = Verdict.EXPIRED_TOKEN

        verdict = self.replica.ask(secret, host)
        assert verdict is expected or (name in self.tampered and {verdict, expected} == ABSENT)
        if known and expected is not Verdict.UNKNOWN_TOKEN:
            known.note(expected)

    @rule(name=ids, hosts=HOSTS, limit=LIMITS)
    def edit(self, name: str, hosts: str, limit: int) -> None:
        """Edit a token."""
        typed = {"hosts": hosts, "rate_limit_max": str(limit)}
        if known := self.expect(name, lambda: self.replica.edit(name, typed)):
            known.hosts, known.limit = hosts, limit

    @rule(name=ids, quota=LIMITS)
    def set_quota(self, name: str, quota: int) -> None:
        """Give a token a quota per month, change it or take it away."""
        typed = {"quota_max": str(quota)} | ({"quota_period": "month"} if quota else {})
        if known := self.expect(name, lambda: self.replica.edit(name, typed)):
            known.quota = quota

    @rule(name=ids, ttl=TTLS)
    def set_expiry(self, name: str, ttl: str) -> None:
        """Change or remove a token's expiry."""
        if known := self.expect(name, lambda: self.replica.edit(name, {"ttl_seconds": ttl})):
            known.expires = ttl != "0"

    @rule(name=ids, enabled=st.booleans())
    def switch(self, name: str, *, enabled: bool) -> None:
        """Enable or disable a token."""
        if known := self.expect(name, lambda: self.replica.enable(name, enabled=enabled)):
            known.enabled = enabled

    @rule(name=ids, grace=st.sampled_from(["0", "3000"]))
    def rotate(self, name: str, grace: str) -> None:
        """Rotate a token."""
        known = self.model.get(name)
        if known and not known.enabled:
            with pytest.raises(ConflictError):
                self.replica.rotate(name, grace)
        elif known:
            _, secret = self.replica.rotate(name, grace)
            known.secrets = [*(known.secrets if grace != "0" else []), secret]
            self.all_secrets[name].append(secret)
        else:
            with pytest.raises(NoSuchTokenError):
                self.replica.rotate(name, grace)

    @rule(name=ids)
    def end_grace(self, name: str) -> None:
        """Simulate the end of a token's grace periods."""
        if known := self.model.get(name):
            for secret in known.secrets[:-1]:
                self.client.delete(self.replica.record(secret))
            del known.secrets[:-1]

    @rule(name=ids)
    def expire(self, name: str) -> None:
        """Simulate the expiry of a token."""
        if known := self.model.pop(name, None):
            self.replica.pass_end(known.secrets[-1])
            self.expired[name] = known.secrets if known.expires else []

    @rule(name=ids, age=st.integers(0, 3), operation=st.sampled_from(["DEL", "PERSIST", "SET"]))
    def tamper(self, name: str, age: int, operation: str) -> None:
        """Change the remembered expiry from outside, after which the reason of a refusal may be wrong."""
        secret = self.all_secrets[name][-1 - age % len(self.all_secrets[name])]
        marker = keys.ended(self.replica.peppers.digest(secret))
        self.client.execute_command(operation, marker, *(["?"] if operation == "SET" else []))
        self.tampered.add(name)

    @rule(name=ids)
    def delete(self, name: str) -> None:
        """Delete a token."""
        if self.expect(name, lambda: self.replica.delete(name)):
            del self.model[name]

    @invariant()
    def table(self) -> None:
        """Check that the table equals the model."""
        shown = {token.id: (token.hosts, token.enabled) for token in self.replica.catalog.page(1).tokens}

        assert shown == {name: ((known.hosts,), known.enabled) for name, known in self.model.items()}

    def teardown(self) -> None:
        """Check that every use was counted by its verdict."""
        now_s = int(self.client.time()[0])
        for name, known in self.model.items():
            counters = self.client.get(keys.usage(self.replica.catalog.find(name).digest))
            counted = total(usage.parse(counters, now_s).hours)
            assert (counted.allowed, counted.refused) == (known.allowed, known.refused)

    def expect(self, name: str, operation: Any) -> Modeled | None:
        """Call *operation*, which must fail if the model has no such token."""
        if name in self.model:
            operation()
            return self.model[name]
        with pytest.raises(NoSuchTokenError):
            operation()
        return None


def test_any_life(redis_server: RedisServer) -> None:
    """Service and model agree in thousands of random steps."""
    with redis.Redis(port=redis_server.port, protocol=2) as client:
        Life.client = client
        machine = Life.TestCase
        machine.settings = settings(
            max_examples=60,
            stateful_step_count=50,
        )
        machine("runTest").runTest()
