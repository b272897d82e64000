"""Remember which tokens a file manages, and whose turn it is to change them (docs/decisions/0030)."""

from __future__ import annotations

from typing import Any

from app.core.durability import Durability
from app.core.managed import ManagedStore
from app.core.tokens import DIGEST
from app.store import keys
from app.store.durable import Disk
from app.store.repair import repaired
from app.store.transport.cluster import Client
from app.store.transport.deadlines import best_effort, bounded
from app.store.transport.scripts import Script

# Longer than any change takes, which keeps it, and as long as a turn outlives a process that was killed.
TURN_MS = 10_000


class RedisManaged(ManagedStore):
    """Keeps a set of digests, and a key that expires for the turn."""

    def __init__(self, client: Client, deadline_s: float) -> None:
        self._client: Any = client
        self._deadline_s = deadline_s
        self._disk = Disk(client, lambda _: None)
        self._turn = Script("turn")

    def digests(self) -> list[str]:
        with bounded(self._deadline_s):
            members = repaired(lambda: self._client.execute_command("SMEMBERS", keys.MANAGED), self._discard)
        return sorted(filter(DIGEST.fullmatch, (member.decode(errors="replace") for member in members)))

    def note(self, digest: str) -> None:
        with bounded(self._deadline_s):
            repaired(lambda: self._client.sadd(keys.MANAGED, digest), self._discard)

    def forget(self, digest: str) -> None:
        with best_effort():
            self._client.srem(keys.MANAGED, digest)

    def take_turn(self, owner: str) -> bool:
        return self._has_turn(owner, "take")

    def keep_turn(self, owner: str) -> bool:
        return self._has_turn(owner, "keep")

    def end_turn(self, owner: str) -> Durability | None:
        with bounded(self._deadline_s):
            return self._disk.change(self._turn, [keys.TURN], [owner, "end", TURN_MS])

    def _has_turn(self, owner: str, verb: str) -> bool:
        with bounded(self._deadline_s):
            return bool(self._turn.run(self._client, [keys.TURN], [owner, verb, TURN_MS]))

    def _discard(self) -> None:
        self._client.delete(keys.MANAGED)
