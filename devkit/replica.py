"""The core and the store of one replica of the service."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from app.core import declared
from app.core.audit import Rules
from app.core.catalog import Catalog
from app.core.defaults import Defaults
from app.core.gate import Gate
from app.core.holders import Holders
from app.core.limits import Limit
from app.core.managed import Applier
from app.core.peppers import Peppers
from app.core.registry import Registry
from app.core.tokens import Token
from app.core.trials import Trials
from app.core.verdicts import Attempt, Decision, Verdict
from app.store import keys
from app.store.audit import RedisAudit
from app.store.changes import RedisChanges
from app.store.health import EvictionPolicyCheck, Health
from app.store.ledger import RedisLedger
from app.store.managed import RedisManaged
from app.store.pepper_check import PepperCheck
from app.store.preview import PreviewLedger
from app.store.tokens import RedisTokens
from app.store.trail import Trail
from devkit.builders import ACTOR

RULES = Rules()
LIMIT = Limit(100, 60)
DEADLINE_S = 60


def make_changes(client: Any) -> RedisChanges:
    """Return a store of changes on *client*."""
    pepper_check = PepperCheck(client, ["f"])
    return RedisChanges(client, RedisTokens(client, pepper_check, 2), pepper_check, 2, Trail(client, Rules()))


class Replica:
    """A gate, a catalog and a registry with one configuration."""

    def __init__(
        self,
        client: Any,
        *peppers: str,
        limit: Limit = LIMIT,
        now: Callable[[], float] = time.time,
        ttl_s: int = 0,
        rules: Rules = RULES,
    ) -> None:
        self.client = client
        self.peppers = Peppers(peppers[0], tuple(peppers[1:]))
        self.pepper_check = PepperCheck(client, self.peppers.fingerprints)
        store = RedisTokens(client, self.pepper_check, DEADLINE_S)
        changes = RedisChanges(client, store, self.pepper_check, DEADLINE_S, Trail(client, rules))
        self.audit = RedisAudit(client, DEADLINE_S, rules)
        self.catalog = Catalog(store, self.peppers, "acl")
        defaults = Defaults("acl", ttl_s, limit.window_s)
        self.registry = Registry(store, changes, self.peppers, defaults, now)
        series = RedisChanges(client, store, self.pepper_check, DEADLINE_S, Trail(client, rules), asks=False)
        managed = RedisManaged(client, DEADLINE_S)
        self.applier = Applier(store, series, managed, declared.Rules(self.peppers, defaults), now)
        self.ledger = RedisLedger(client, self.pepper_check, limit, DEADLINE_S)
        self.gate = Gate(self.ledger, self.peppers, "acl")
        self.preview = PreviewLedger(client, self.pepper_check, limit, DEADLINE_S)
        self.trials = Trials(Gate(self.preview, self.peppers, "acl"), self.preview, self.catalog)
        self.holders = Holders(self.gate, self.catalog, self.registry, changes, "acl")

    def issue(self, **typed: str) -> tuple[str, str]:
        """Issue a token; return its id and its secret."""
        issued = self.registry.issue(ACTOR, {"hosts": "a.test"} | typed)
        return issued.token.id, issued.secret

    def edit(self, name: str, typed: dict[str, str]) -> Token:
        """Find and edit the token *name*; return it."""
        return self.registry.edit(ACTOR, self.catalog.find(name), typed).token

    def enable(self, name: str, *, enabled: bool) -> Token:
        """Find the token *name*, and enable or disable it; return it."""
        return self.registry.enable(ACTOR, self.catalog.find(name), enabled=enabled).token

    def rotate(self, name: str, grace_seconds: str) -> tuple[Token, str]:
        """Find and rotate the token *name*; return it and its new secret."""
        issued = self.registry.rotate(ACTOR, self.catalog.find(name), grace_seconds)
        return issued.token, issued.secret

    def delete(self, name: str) -> Token:
        """Find and delete the token *name*; return it."""
        return self.registry.delete(ACTOR, self.catalog.find(name)).token

    def decide(self, secret: str, host: str = "a.test") -> Decision:
        """Return the decision on *secret* for *host*."""
        return self.gate.check(Attempt(secret, host))

    def ask(self, secret: str, host: str = "a.test") -> Verdict:
        """Return the verdict on *secret* for *host*."""
        return self.decide(secret, host).verdict

    def pass_end(self, secret: str) -> None:
        """Expire the keys of a token now, as Redis does at its end."""
        digest = self.peppers.digest(secret)
        for name in (keys.record(digest), keys.usage(digest)):
            self.client.delete(name)
        if self.client.exists(keys.ended(digest)):
            self.client.pexpire(keys.ended(digest), keys.REMEMBERED_MS)
        for entry in self.client.zrange(keys.ENDED, 0, -1):
            if keys.digest_of_entry(entry) == digest:
                self.client.zadd(keys.ENDED, {entry: self.client.time()[0]})

    def check_health(self) -> None:
        """Raise StoreUnavailableError unless a decision could be made now."""
        Health(
            self.client, self.ledger, self.pepper_check, EvictionPolicyCheck(self.client), DEADLINE_S
        ).check()

    def record(self, secret: str) -> str:
        """Return the key of the record of *secret* under the current pepper."""
        return keys.record(self.peppers.digest(secret))
