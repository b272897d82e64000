"""Tokens that a file declares, on fakeredis, a server and a Cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import redis

from app.core.audit import Action, Entry, Via, Wanted
from app.core.declared import Declared
from app.core.durability import Durability
from app.core.errors import BusyError, ConflictError
from app.core.held import Held
from app.core.managed import Applier
from app.core.tokens import Status, Token
from app.core.verdicts import Verdict
from app.store import keys
from app.store.managed import TURN_MS, RedisManaged
from devkit.builders import ACTOR
from devkit.replica import Replica

SECRET, OTHER = "a-secret-that-is-long-enough", "another-secret-of-that-length"


@pytest.fixture
def replica(client: Any) -> Replica:
    """Return a replica on an empty database."""
    return Replica(client, "pepper")


def declare(key: str = "ci", secret: str = SECRET, *, enabled: bool | None = None, **typed: str) -> Declared:
    """Return a declaration for a.test, changed by *typed*."""
    return Declared(key, {"hosts": "a.test"} | typed, secret=secret, enabled=enabled)


def apply(replica: Replica, *declared: Declared, prune: bool = False) -> list[str]:
    """Apply the declarations; return the first words of the steps."""
    applied = replica.applier.apply(declared, prune=prune)
    return [" ".join(str(step).split()[:2]) for step in applied.plan.steps]


def entries(replica: Replica) -> list[Entry]:
    """Return the audit entries, the oldest first."""
    return list(reversed(replica.audit.newest(Wanted(), None, 50).entries))


def stored(client: Any) -> dict[Any, Any]:
    """Return a dump of every key."""
    return {key: client.dump(key) for key in client.scan_iter()}


def test_life(replica: Replica) -> None:
    """A declared token is created, edited and ended, with one audit entry each, by the file."""
    assert apply(replica, declare(comment="x")) == ["+ ci:"]
    assert replica.ask(SECRET) is Verdict.ALLOWED
    assert apply(replica, declare(hosts="b.test")) == ["~ ci:"]
    assert (replica.ask(SECRET), replica.ask(SECRET, "b.test")) == (Verdict.WRONG_HOST, Verdict.ALLOWED)
    assert apply(replica) == []
    assert apply(replica, prune=True) == ["- ci:"]
    assert replica.ask(SECRET) is Verdict.UNKNOWN_TOKEN

    assert [each.action for each in entries(replica)] == [Action.CREATE, Action.EDIT, Action.DELETE]
    assert {(each.via, each.actor) for each in entries(replica)} == {(Via.FILE, "TOKENS_FILE")}
    assert entries(replica)[1].changes().keys() == {"hosts", "comment"}


def test_applied_twice(single_client: Any) -> None:
    """The second time nothing is written, not even a lock."""
    replica = Replica(single_client, "pepper")
    declared = declare(
        expires_at="2090-01-01", paths="/v1/*", quota_max="5", quota_period="day", enabled=False
    )
    apply(replica, declared)
    before = stored(single_client)

    assert apply(replica, declared) == []
    assert stored(single_client) == before


def test_no_turn_for_nothing(replica: Replica, client: Any) -> None:
    """A file that changes nothing is applied even while somebody else has the turn."""
    apply(replica, declare())
    assert RedisManaged(client, 2).take_turn("other")

    assert apply(replica, declare()) == []


def test_new_token_leaves(replica: Replica) -> None:
    """A token that the file created is known as managed from the start, so that it can be ended."""
    apply(replica, declare())

    assert apply(replica, prune=True) == ["- ci:"]


def test_dry_run(single_client: Any) -> None:
    """A plan writes nothing."""
    replica = Replica(single_client, "pepper")
    replica.applier.plan([declare()], prune=True)

    assert stored(single_client) == {}


def test_adoption(replica: Replica) -> None:
    """A token with the declared secret becomes managed as it is, with its id."""
    name, secret = replica.issue()
    assert apply(replica, declare(secret=secret, comment="adopted")) == ["~ ci:"]
    token = replica.catalog.find(name)

    assert (token.managed, token.comment) == ("ci", "adopted")
    assert apply(replica, prune=True) == ["- ci:"]


def test_new_secret(replica: Replica, client: Any) -> None:
    """Another secret ends the old one at once; the token keeps its id and usage, but for a Cluster."""
    apply(replica, declare(quota_max="9", quota_period="day"))
    replica.ask(SECRET)
    before = replica.catalog.find(SECRET)
    assert apply(replica, declare(secret=OTHER, quota_max="9", quota_period="day", comment="x")) == ["~ ci:"]
    after = replica.catalog.find(OTHER)

    assert (replica.ask(SECRET), replica.ask(OTHER)) == (Verdict.UNKNOWN_TOKEN, Verdict.ALLOWED)
    assert (after.managed, after.comment) == ("ci", "x")
    if isinstance(client, redis.Redis):
        assert (after.id, after.quota_used) == (before.id, before.quota_used)
    assert apply(replica, declare(secret=OTHER, quota_max="9", quota_period="day", comment="x")) == []


def test_disabled_token_gets_no_life_from_a_new_secret(replica: Replica) -> None:
    """A token that an operator stopped stays stopped until the file enables it."""
    apply(replica, declare())
    token = replica.catalog.find(SECRET)
    replica.registry.enable(ACTOR, token, enabled=False, force=True)
    apply(replica, declare(comment="x"))
    assert replica.ask(SECRET) is Verdict.DISABLED_TOKEN

    apply(replica, declare(secret=OTHER))
    assert replica.ask(OTHER) is Verdict.DISABLED_TOKEN
    apply(replica, declare(secret=OTHER, enabled=True))
    assert replica.ask(OTHER) is Verdict.ALLOWED


def test_new_pepper(client: Any) -> None:
    """A token under an earlier pepper is the declared one, by its secret and by its old digest."""
    old = Replica(client, "old")
    apply(old, declare())
    digest = old.catalog.find(SECRET).digest
    new = Replica(client, "new", "old")

    assert apply(new, declare()) == []
    assert apply(new, Declared("ci", {"hosts": "a.test"}, digest=digest)) == []


def test_expired(replica: Replica, client: Any) -> None:
    """A token whose declared end has passed is ended or not created, and its digest is forgotten in time."""
    apply(replica, declare(expires_at="2090-01-01"), declare("b", OTHER))
    assert apply(replica, declare(expires_at="2020-01-01"), declare("b", OTHER)) == ["- ci:"]
    assert apply(replica, declare(expires_at="2020-01-01"), declare("b", OTHER)) == []

    replica.pass_end(OTHER)
    assert apply(replica, declare("c", "c" * 20)) == ["+ c:"]
    assert RedisManaged(client, 2).digests() == [replica.peppers.digest("c" * 20)]


def holder(replica: Replica) -> Held:
    """Return the holder of the declared secret."""
    held = replica.catalog.held_by(SECRET)
    assert held
    return held


CHANGES: dict[str, Callable[[Replica, Token], Any]] = {
    "edit": lambda replica, token: replica.edit(token.id, {"comment": "x"}),
    "enable": lambda replica, token: replica.enable(token.id, enabled=True),
    "disable": lambda replica, token: replica.enable(token.id, enabled=False),
    "rotate": lambda replica, token: replica.rotate(token.id, "0"),
    "delete": lambda replica, token: replica.delete(token.id),
    "rotate by its holder": lambda replica, _: replica.holders.rotate(ACTOR, holder(replica), "0"),
    "end by its holder": lambda replica, _: replica.holders.end(ACTOR, holder(replica)),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_read_only(single_client: Any, change: Callable[[Replica, Token], Any]) -> None:
    """Nobody but the file changes a managed token; the refusal says where to change it."""
    replica = Replica(single_client, "pepper")
    apply(replica, declare())
    before = stored(single_client)

    with pytest.raises(ConflictError, match=r"managed by a tokens file as `ci`; change it there"):
        change(replica, replica.catalog.find(SECRET))
    assert stored(single_client) == before


def test_every_kind_of_key(replica: Replica, client: Any) -> None:
    """A record that another program replaced by another type, and keys of ours that it did, are repaired."""
    client.set(replica.record(SECRET), "x")
    client.set(keys.MANAGED, "x")
    client.hset(keys.TURN, "x", "y")

    assert apply(replica, declare()) == ["- ci:", "+ ci:"]
    assert replica.ask(SECRET) is Verdict.ALLOWED


def test_unreadable_record(replica: Replica, client: Any) -> None:
    """A record with an invalid field is written anew."""
    apply(replica, declare())
    client.hset(replica.record(SECRET), "rate_limit_max", "x")
    assert apply(replica, declare()) == ["~ ci:"]

    assert replica.catalog.find(SECRET).status(replica.registry.now_s) is Status.ACTIVE


def test_imported_token(replica: Replica, client: Any) -> None:
    """A managed token whose record came from elsewhere is remembered, so that it can be ended later."""
    apply(replica, declare())
    client.delete(keys.MANAGED)

    assert apply(replica, declare()) == []
    assert apply(replica, prune=True) == ["- ci:"]


class Stopped(BaseException):
    """Stands for a process that dies."""


@pytest.mark.parametrize("steps", range(4))
def test_crash(single_client: Any, steps: int) -> None:
    """After a process died between two steps, the next one does the rest, and each change has one entry."""
    replica, others = Replica(single_client, "pepper"), [declare("b", OTHER), declare("c", "c" * 20)]
    apply(replica, declare(), declare("old", "d" * 20))
    done: list[object] = []

    def die(step: object) -> None:
        done.append(step)
        if len(done) == steps:
            single_client.delete(keys.TURN)  # it would expire
            raise Stopped

    wanted = [declare(comment="x"), *others]
    try:
        replica.applier.apply(wanted, prune=True, report=die)
    except Stopped:
        rest = apply(replica, *wanted, prune=True)
        assert len(done) + len(rest) == 4
    assert apply(replica, *wanted, prune=True) == []
    assert len(entries(replica)) == 2 + 4


def test_one_at_a_time(replica: Replica, client: Any) -> None:
    """While one process applies a file another one is refused, and the second one ends nobody's turn."""
    managed = RedisManaged(client, 2)
    assert managed.take_turn("other")
    with pytest.raises(BusyError):
        apply(replica, declare())
    assert replica.ask(SECRET) is Verdict.UNKNOWN_TOKEN

    assert not managed.end_turn("me")
    assert not managed.keep_turn("me")
    assert managed.keep_turn("other")
    assert 0 < client.pttl(keys.TURN) <= TURN_MS
    assert managed.end_turn("other")
    assert not managed.keep_turn("other")
    assert apply(replica, declare()) == ["+ ci:"]


def test_lost_turn(replica: Replica, client: Any) -> None:
    """Whoever loses the turn stops before the next step."""
    with pytest.raises(ConflictError, match="apply the file again"):
        replica.applier.apply(
            [declare(), declare("b", OTHER)], prune=False, report=lambda _: client.delete(keys.TURN)
        )
    assert (replica.ask(SECRET), replica.ask(OTHER)) == (Verdict.ALLOWED, Verdict.UNKNOWN_TOKEN)


def questions(client: Any) -> int:
    """Return how often the server was asked about its disk: by WAITAOF or, where there is none, by INFO."""
    counted = client.info("commandstats")
    return sum(counted.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("waitaof", "info"))


def test_durability(real_client: Any) -> None:
    """The durability is that of the server, which is asked once for all steps."""
    applier: Applier = Replica(real_client, "pepper").applier
    declared = [declare(f"t{number}", f"{number}" * 20) for number in range(9)]
    assert applier.apply(declared[:1], prune=False).durability is Durability.NO_FILE
    asked = questions(real_client)

    assert applier.apply(declared[:2], prune=False).durability is Durability.NO_FILE
    once = questions(real_client) - asked
    applier.apply(declared, prune=False)
    assert questions(real_client) - asked - once == once
    assert applier.apply(declared, prune=False).durability is Durability.CONFIRMED
