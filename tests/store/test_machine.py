"""Random sequences of operator actions and requests, on a real server, compared with a simple model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule

from app.core.ended import Ending
from app.core.errors import ConflictError, NoSuchTokenError
from app.core.limits import Limit
from app.core.usage import total
from app.core.verdicts import Identity, Verdict
from app.store import keys, usage
from devkit.builders import ACTOR
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
    replaced: dict[str, str] = field(default_factory=dict)  # the hosts at the time of each rotation

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
        self.expired: set[str] = set()
        self.ended: dict[str, tuple[str, Ending, str]] = {}  # by secret
        self.tampered: set[str] = set()  # the secrets whose expiry marker may be wrong

    @rule(target=ids, hosts=HOSTS, limit=LIMITS, ttl=TTLS)
    def issue(self, hosts: str, limit: int, ttl: str) -> Any:
        """Create a token."""
        return self.issue_with(None, hosts, limit, ttl)

    @rule(target=ids, name=ids, hosts=HOSTS, ttl=TTLS)
    def issue_again(self, name: str, hosts: str, ttl: str) -> Any:
        """Create a token with the secret of one that ended and was never rotated."""
        secret = self.all_secrets[name][0]
        if self.related(secret) != {secret} or self.owner(secret):
            return multiple()
        for each in (self.tampered, self.expired):
            each.discard(secret)
        self.ended.pop(secret, None)
        return self.issue_with(secret, hosts, 0, ttl)

    @rule(name=ids, age=st.integers(0, 3), host=st.sampled_from(["a.test", "b.test", "other.example"]))
    def ask(self, name: str, age: int, host: str) -> None:
        """Use a token, existing or not, with any secret that it ever had."""
        all_secrets = self.all_secrets[name]
        secret = all_secrets[-1 - age % len(all_secrets)]
        known, absent = self.owner(secret), Verdict.UNKNOWN_TOKEN
        if secret in self.expired:
            absent = Verdict.EXPIRED_TOKEN

        decision = self.replica.decide(secret, host)
        is_tampered = not self.tampered.isdisjoint(self.related(secret))
        if known:
            assert decision.verdict is known.verdict(host)
            known.note(decision.verdict)
        else:
            assert decision.verdict is absent or (is_tampered and decision.verdict in ABSENT)
        if not known and secret in self.ended and not is_tampered:
            ended, ending, _ = self.ended[secret]
            assert decision.identity == Identity(ended.encode(), b"", b"")
            assert decision.ending is (None if ending is Ending.EXPIRED else ending)

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
            old = known.secrets[-1]
            known.replaced[old] = known.hosts
            if old in self.tampered:  # its marker has moved
                self.tampered.add(secret)
            if grace == "0":
                self.end(name, Ending.REPLACED, known)
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
                self.replica.pass_end(secret)
                self.ended[secret] = (name, Ending.REPLACED, known.replaced[secret])
            del known.secrets[:-1]

    @rule(name=ids)
    def expire(self, name: str) -> None:
        """Simulate the expiry of a token."""
        if known := self.model.pop(name, None):
            self.replica.pass_end(known.secrets[-1])
            if known.expires:
                self.expired |= {*known.secrets}
                self.end(name, Ending.EXPIRED, known)

    @rule(name=ids, age=st.integers(0, 3), operation=st.sampled_from(["DEL", "PERSIST", "SET"]))
    def tamper(self, name: str, age: int, operation: str) -> None:
        """Change the remembered expiry from outside, after which the reason of a refusal may be wrong."""
        secret = self.all_secrets[name][-1 - age % len(self.all_secrets[name])]
        marker = keys.ended(self.replica.peppers.digest(secret))
        self.client.execute_command(operation, marker, *(["?"] if operation == "SET" else []))
        self.tampered.add(secret)

    @rule(name=ids)
    def delete(self, name: str) -> None:
        """Delete a token."""
        if known := self.expect(name, lambda: self.replica.delete(name)):
            del self.model[name]
            self.end(name, Ending.DELETED, known)

    @invariant()
    def table(self) -> None:
        """Check that the table equals the model."""
        shown = {token.id: (token.hosts, token.enabled) for token in self.replica.catalog.page(1).tokens}

        assert shown == {name: ((known.hosts,), known.enabled) for name, known in self.model.items()}

    @rule()
    def list_ended(self) -> None:
        """Check that the table of ended tokens equals the model, except for those with a tampered marker."""
        secrets = {
            self.replica.peppers.digest(secret): secret
            for every in self.all_secrets.values()
            for secret in every
        }
        found = self.replica.catalog.ended()
        shown = {secrets[token.digest]: (token.id, token.ending, *token.hosts) for token in found.tokens}
        expected = self.ended.items() - {(secret, self.ended.get(secret)) for secret in self.tampered}

        assert shown.items() >= expected
        assert shown.keys() <= {secret for secret, _ in expected} | self.tampered
        assert (len(shown), found.total, found.is_whole) == (len(found.tokens), len(found.tokens), True)

    def teardown(self) -> None:
        """Check that every use was counted by its verdict, and every end remembered."""
        self.list_ended()
        now_s = int(self.client.time()[0])
        for name, known in self.model.items():
            counters = self.client.get(keys.usage(self.replica.catalog.find(name).digest))
            counted = total(usage.parse(counters, now_s).hours)
            assert (counted.allowed, counted.refused) == (known.allowed, known.refused)

    def issue_with(self, secret: str | None, hosts: str, limit: int, ttl: str) -> str:
        """Create a token, with a new secret if there is none, and return its id."""
        typed = {"hosts": hosts, "rate_limit_max": str(limit), "ttl_seconds": ttl}
        issued = self.replica.registry.issue(ACTOR, typed, secret=secret)
        name, secrets = issued.token.id, [issued.secret]
        self.model[name], self.all_secrets[name] = (
            Modeled(hosts, limit, secrets, expires=ttl != "0"),
            [*secrets],
        )
        return name

    def related(self, secret: str) -> set[str]:
        """Return all secrets of the tokens that ever had *secret*."""
        return {each for every in self.all_secrets.values() if secret in every for each in every}

    def owner(self, secret: str) -> Modeled | None:
        """Return the token that exists and has *secret*."""
        return next((known for known in self.model.values() if secret in known.secrets), None)

    def end(self, name: str, ending: Ending, known: Modeled) -> None:
        """Note how the newest secret of a token ended."""
        self.ended[known.secrets[-1]] = (name, ending, known.hosts)

    def expect(self, name: str, operation: Any) -> Modeled | None:
        """Call *operation*, which must fail if the model has no such token."""
        if name in self.model:
            operation()
            return self.model[name]
        with pytest.raises(NoSuchTokenError):
            operation()
        return None


@pytest.mark.parametrize(("server", "examples"), [("real", 60), ("cluster", 4)])
def test_any_life(request: pytest.FixtureRequest, server: str, examples: int) -> None:
    """Service and model agree in thousands of random steps, in fewer in a Cluster, which rotates slowly."""
    Life.client = request.getfixturevalue(f"{server}_client")
    machine = Life.TestCase
    machine.settings = settings(max_examples=examples, stateful_step_count=50)
    machine("runTest").runTest()
