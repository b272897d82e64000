"""Every change of a token leaves one entry in the audit log, and nothing else does."""

from __future__ import annotations

from typing import Any

import pytest

from app.core.audit import Action, Actor, Entry, Rules, Via, Wanted, every
from app.store import keys
from app.store.trail import tags
from app.store.transport.slots import SLOTS, slot_of
from devkit.builders import ACTOR
from devkit.replica import Replica


@pytest.fixture
def replica(client: Any) -> Replica:
    """Return a replica on an empty database."""
    return Replica(client, "pepper")


def entries(replica: Replica, **wanted: Any) -> list[Entry]:
    """Return all entries that are wanted, newest first, read two at a time."""
    return [*every(replica.audit, Wanted(**wanted), 2)]


def test_every_action(replica: Replica) -> None:
    """Each action has one entry with its actor, its token, and what it changed."""
    name, secret = replica.issue(comment="für 日本", rate_limit_max="5", ttl_seconds="3600")
    replica.edit(name, {"hosts": "b.test, c.test", "comment": "", "expires_at": "2099-01-31"})
    replica.enable(name, enabled=False)
    replica.enable(name, enabled=True)
    replica.rotate(name, "60")
    held = replica.catalog.held_by(secret)
    assert held
    replica.registry.retire(ACTOR, held)
    digest = replica.delete(name).digest

    deleted, retired, rotated, enabled, disabled, edited, created = entries(replica)
    assert {entry.token_id for entry in entries(replica)} == {name}
    assert {(entry.via, entry.actor) for entry in entries(replica)} == {("shell", "tester")}
    old = replica.peppers.digest(secret)
    assert created.action == "create"
    assert created.changes()["comment"] == (None, "für 日本")
    assert created.changes()["hosts"] == (None, ["a.test"])
    assert created.changes()["rate_limit_max"] == (None, 5)
    assert created.changes()["sha256"] == (None, old)
    end = created.changes()["expires_at"][1]
    assert edited.changes() == {
        "hosts": (["a.test"], ["b.test", "c.test"]),
        "comment": ("für 日本", ""),
        "expires_at": (end, "2099-01-31T00:00:00Z"),
    }
    assert (disabled.action, disabled.changes()) == ("disable", {"enabled": (True, False)})
    assert (enabled.action, enabled.changes()) == ("enable", {"enabled": (False, True)})
    assert (rotated.action, rotated.changes()["sha256"]) == ("rotate", (old, digest))
    assert rotated.changes()["grace_ends_at"][1]
    assert (retired.action, retired.changes()) == ("retire", {"sha256": (old, None)})
    assert deleted.action == "delete"
    assert deleted.changes()["hosts"] == (["b.test", "c.test"], None)
    assert deleted.changes()["sha256"] == (digest, None)


def test_deletion_of_a_disabled_token(replica: Replica) -> None:
    """A deletion enables nothing; a token that is switched off together with nothing else is disabled."""
    name, _ = replica.issue()
    replica.registry.edit(ACTOR, replica.catalog.find(name), {}, enabled=False)
    replica.delete(name)

    deleted, disabled, _ = entries(replica)
    assert (disabled.action, disabled.changes()) == ("disable", {"enabled": (True, False)})
    assert deleted.changes()["enabled"] == (False, None)


def test_no_change_no_entry(replica: Replica) -> None:
    """An edit that leaves everything as it is has no entry, nor has a refused change."""
    name, secret = replica.issue(comment="same")
    replica.edit(name, {"comment": "same", "hosts": "A.test"})
    replica.enable(name, enabled=True)
    replica.ask(secret)
    token = replica.delete(name)
    assert not replica.registry._changes.remove(ACTOR, token)

    assert [entry.action for entry in entries(replica)] == ["delete", "create"]


def test_filters(replica: Replica) -> None:
    """The log is read by token, actor, action and time, and a cursor continues it."""
    names = [replica.issue()[0] for _ in range(4)]
    replica.registry.delete(Actor(Via.API, "ops", "192.0.2.1"), replica.catalog.find(names[0]))

    assert [entry.token_id for entry in entries(replica)] == [names[0], *reversed(names)]
    assert [entry.action for entry in entries(replica, token_id=names[0])] == ["delete", "create"]
    assert [entry.address for entry in entries(replica, actor="ops")] == ["192.0.2.1"]
    assert len(entries(replica, action=Action.CREATE)) == 4
    second = entries(replica)[0].at_ms // 1000
    assert entries(replica, since_ms=(second + 2) * 1000) == []
    assert len(entries(replica, since_ms=(second - 3600) * 1000)) == 5


def test_bounds(single_client: Any) -> None:
    """The log keeps the newest entries, up to a number and up to an age."""
    single_client.xadd(keys.AUDIT, {"action": "create"}, id="1-0")
    name, _ = Replica(single_client, "pepper", rules=Rules(max_entries=100, max_age_s=3600)).issue()
    assert single_client.xlen(keys.AUDIT) == 1
    assert entries(Replica(single_client, "pepper", rules=Rules(max_age_s=-60))) == []

    replica = Replica(single_client, "pepper", rules=Rules(max_entries=3))
    for number in range(5):
        replica.edit(name, {"comment": f"{number}"})
    assert [entry.new["comment"] for entry in entries(replica)] == ["4", "3", "2"]


def test_key_of_another_type(single_client: Any) -> None:
    """A key that another program wrote in place of the log is replaced, and the change is made."""
    single_client.set(keys.AUDIT, "text")
    replica = Replica(single_client, "pepper")
    assert entries(replica) == []
    replica.issue()

    assert [entry.action for entry in entries(replica)] == ["create"]


def test_long_values_are_cut(replica: Replica) -> None:
    """A value of any length takes little space in the log."""
    name, _ = replica.issue(hosts=",".join(f"{'a' * 60}.{number}.test" for number in range(30)))

    (created,) = entries(replica, token_id=name)
    hosts = created.changes()["hosts"][1]
    assert 10 < len(hosts) < 18
    assert hosts[-1].endswith("…")


def test_secrets_are_never_in_the_log(replica: Replica) -> None:
    """Neither the secrets nor anything that they could be computed from is in the log."""
    name, secret = replica.issue()
    _, second = replica.rotate(name, "60")

    assert not {secret, second} & {text for entry in entries(replica) for text in str(entry).split("'")}


def test_tags_put_a_key_into_each_slot() -> None:
    """In a Cluster the log of each slot is in that slot."""
    assert [slot_of(keys.audit(tag)) for tag in tags()] == list(range(SLOTS))
