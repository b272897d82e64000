"""One replica of the service, as far as it decides and remembers."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from app.core.gate import Gate
from app.core.limits import Limit
from app.core.peppers import Peppers
from app.core.registry import Defaults, Registry
from app.core.verdicts import Attempt, Decision, Verdict
from app.store import keys
from app.store.health import Checkup, Health
from app.store.ledger import RedisLedger
from app.store.pepper_check import Canary
from app.store.tokens import RedisTokens

LIMIT = Limit(100, 60)
DEADLINE_S = 60


class Replica:
    """A gate and a registry with one configuration."""

    def __init__(
        self,
        client: Any,
        *peppers: str,
        limit: Limit = LIMIT,
        now: Callable[[], float] = time.time,
        ttl_s: int = 0,
    ) -> None:
        self.client = client
        self.peppers = Peppers(peppers[0], tuple(peppers[1:]))
        self.canary = Canary(client, self.peppers.fingerprints)
        store = RedisTokens(client, self.canary, DEADLINE_S)
        self.registry = Registry(store, self.peppers, "acl", Defaults(ttl_s, limit.window_s), now)
        self.ledger = RedisLedger(client, self.canary, limit, DEADLINE_S)
        self.gate = Gate(self.ledger, self.peppers, "acl")

    def issue(self, **typed: str) -> tuple[str, str]:
        """Make a token; return its id and its text."""
        token, text = self.registry.issue({"hosts": "a.test"} | typed)
        return token.id, text

    def decide(self, text: str, host: str = "a.test") -> Decision:
        """Present *text* for *host*."""
        return self.gate.check(Attempt(text, host))

    def ask(self, text: str, host: str = "a.test") -> Verdict:
        """Return the verdict on *text* for *host*."""
        return self.decide(text, host).verdict

    def pass_end(self, text: str) -> None:
        """Do what Redis does with the keys of *text* when the end of its token comes, which is now."""
        digest = self.peppers.digest(text)
        for name in (keys.record(digest), keys.usage(digest)):
            self.client.delete(name)
        if self.client.exists(keys.ended(digest)):
            self.client.pexpire(keys.ended(digest), keys.REMEMBERED_MS)

    def check_health(self) -> None:
        """Find out whether a decision can be made now; raises StoreUnavailableError."""
        Health(self.client, self.ledger, self.canary, Checkup(self.client), DEADLINE_S).check()

    def record(self, text: str) -> str:
        """Return the name of the record of *text* under the current pepper."""
        return keys.record(self.peppers.digest(text))
