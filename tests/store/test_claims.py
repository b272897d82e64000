"""At most one token for each idempotency key, whatever is interrupted (docs/decisions/0028)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from app.core.changes import Issued
from app.core.errors import (
    AlreadyIssuedError,
    ConflictError,
    PreconditionFailedError,
    ReusedKeyError,
    StoreUnavailableError,
    UnknownOutcomeError,
)
from app.core.tokens import mint
from app.store import keys
from app.store.claims import CLAIM_S
from devkit.builders import ACTOR
from devkit.replica import Replica

HOSTS = {"hosts": "a.test"}


def issue(replica: Replica, key: str = "key", typed: dict[str, str] = HOSTS, **more: Any) -> Issued:
    """Issue a token with an idempotency key."""
    return replica.registry.issue(ACTOR, typed, key, **more)


def count(replica: Replica) -> int:
    """Return the number of tokens."""
    return replica.catalog.page(1).total


@pytest.fixture(name="replica")
def _replica(client: Any) -> Replica:
    return Replica(client, "pepper")


@pytest.fixture(name="stop")
def _stop(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that lets the worker die before it does a step of a creation."""

    def stop(step: str) -> None:
        owner = replica.registry._changes if step == "add" else replica.registry._once._claims
        with monkeypatch.context() as patched:
            patched.setattr(owner, step, lambda *_, **__: pytest.exit("killed"))
            with pytest.raises(pytest.exit.Exception):
                issue(replica)

    return stop


def test_sent_twice(replica: Replica) -> None:
    """A key creates one token, and says which, whatever the order of the fields and the blanks among them."""
    first = issue(replica, typed={"hosts": "a.test", "comment": "c"})
    for typed in ({"comment": "c", "hosts": "a.test"}, {"hosts": "a.test", "email": "", "comment": "c"}):
        with pytest.raises(AlreadyIssuedError) as raised:
            issue(replica, typed=typed)
        assert raised.value.token_id == first.token.id

    assert count(replica) == 1
    assert issue(replica, "another").token.id != first.token.id


def test_another_request(replica: Replica) -> None:
    """A key is good for one request only, and that for which it was used is not stored in clear."""
    secret = mint("acl")
    issue(replica, secret=secret)
    for more in ({}, {"secret": mint("acl")}, {"secret": secret, "allow_weak": True}):
        with pytest.raises(ReusedKeyError):
            issue(replica, **more)
    with pytest.raises(AlreadyIssuedError) as raised:
        issue(replica, secret=secret)

    assert not isinstance(raised.value, ReusedKeyError)
    (claim,) = replica.client.scan_iter("acl:claim:*")
    kept = replica.client.get(claim).decode()
    assert not [word for word in (secret, "a.test", "key") if word in kept + claim.decode()]
    assert CLAIM_S - 60 < replica.client.ttl(claim) <= CLAIM_S


@pytest.mark.parametrize("step", ["issue_voucher", "place", "add"])
def test_worker_killed(replica: Replica, stop: Callable[[str], None], step: str) -> None:
    """A worker that dies before the token is created leaves nothing in the way of the next one."""
    stop(step)
    issued = issue(replica)

    assert replica.ask(issued.secret) == "allowed"
    assert count(replica) == 1
    with pytest.raises(AlreadyIssuedError):
        issue(replica)


def test_late_creation(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that was thought dead, and creates its token after all, creates none."""
    add, late = replica.registry._changes.add, list[Any]()
    monkeypatch.setattr(
        replica.registry._changes, "add", lambda *args, **more: (late.append((args, more)), _lose())
    )
    with pytest.raises(UnknownOutcomeError):
        issue(replica)
    monkeypatch.undo()
    second = issue(replica)
    ((args, more),) = late
    with pytest.raises(PreconditionFailedError):
        add(*args, **more)

    assert [token.id for token in replica.catalog.page(1).tokens] == [second.token.id]


def test_unknown_outcome(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that was created although the reply was lost is found when the request is sent again."""
    add = replica.registry._changes.add
    monkeypatch.setattr(replica.registry._changes, "add", lambda *args, **more: (add(*args, **more), _lose()))
    with pytest.raises(UnknownOutcomeError):
        issue(replica)
    monkeypatch.undo()
    (token,) = replica.catalog.page(1).tokens
    with pytest.raises(AlreadyIssuedError) as raised:
        issue(replica)

    assert raised.value.token_id == token.id


@pytest.mark.parametrize("is_done", [False, True])
def test_overtaken(replica: Replica, monkeypatch: pytest.MonkeyPatch, *, is_done: bool) -> None:
    """Of two requests at once, the one that comes second creates nothing and says so."""
    place, other = replica.registry._once._claims.place, Replica(replica.client, "pepper")
    done = list[Issued]()

    def overtake(*args: Any) -> bool:
        monkeypatch.undo()
        if is_done:
            done.append(issue(other))
        else:
            other.registry._once._claims.issue_voucher(args[1]._replace(token_id="1" * 16))
            place(args[0], args[1]._replace(token_id="1" * 16), None)
        return place(*args)

    monkeypatch.setattr(replica.registry._once._claims, "place", overtake)
    with pytest.raises(AlreadyIssuedError) as raised:
        issue(replica)

    assert raised.value.token_id == (done[0].token.id if done else "")
    assert count(replica) == len(done)


def test_deleted_meanwhile(replica: Replica) -> None:
    """A token that was deleted is not created again by a request that comes late."""
    issued = issue(replica)
    replica.delete(issued.token.id)
    for key in (keys.ended(issued.token.digest), keys.ENDED):
        replica.client.delete(key)
    with pytest.raises(AlreadyIssuedError):
        issue(replica)


def test_new_pepper(single_client: Any) -> None:
    """A key is recognized when the pepper has changed."""
    issue(Replica(single_client, "old"))
    replica = Replica(single_client, "new", "old")
    with pytest.raises(AlreadyIssuedError) as raised:
        issue(replica)

    assert not isinstance(raised.value, ReusedKeyError)


def test_rotation(replica: Replica) -> None:
    """A key rotates a token once, another one again, and none does so with another grace period."""
    name, _ = replica.issue()

    def rotate(key: str, grace: str = "60") -> Issued:
        return replica.registry.rotate(ACTOR, replica.catalog.find(name), grace, key)

    first = rotate("key")
    with pytest.raises(AlreadyIssuedError) as raised:
        rotate("key")
    with pytest.raises(ReusedKeyError):
        rotate("key", "0")

    assert raised.value.token_id == name
    assert replica.ask(first.secret) == "allowed"
    assert rotate("another").secret != first.secret


def test_rotation_killed(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rotation that was not made is made when it is sent again; one that comes late is not."""
    name, old = replica.issue()
    token = replica.catalog.find(name)
    rotate, late = replica.registry._changes.rotate, list[Any]()
    monkeypatch.setattr(replica.registry._changes, "rotate", lambda *args: (late.append(args), _lose()))
    with pytest.raises(UnknownOutcomeError):
        replica.registry.rotate(ACTOR, token, "0", "key")
    monkeypatch.undo()
    second = replica.registry.rotate(ACTOR, token, "0", "key")

    assert rotate(*late[0]) is None
    assert [replica.ask(secret) for secret in (second.secret, old)] == ["allowed", "unknown_token"]


def test_change_of_what_was_read(replica: Replica) -> None:
    """A strict change is made only if the token is stored as it was read, by whatever program."""
    name, _ = replica.issue(comment="old")
    changes: list[Callable[[Any], object]] = [
        lambda token: replica.registry.strict.edit(ACTOR, token, {"email": "a@b.example"}),
        lambda token: replica.registry.strict.rotate(ACTOR, token, "0"),
        lambda token: replica.registry.strict.delete(ACTOR, token),
    ]
    for change in changes:
        for field in ("comment", "hosts", "enabled", "rate_limit_max"):
            token = replica.catalog.find(name)
            kept = replica.client.hget(keys.record(token.digest), field)
            replica.client.hset(keys.record(token.digest), field, "0")
            with pytest.raises(PreconditionFailedError):
                change(token)
            replica.client.hdel(keys.record(token.digest), field)
            if kept:
                replica.client.hset(keys.record(token.digest), field, kept)
        change(replica.catalog.find(name))


@pytest.mark.parametrize("how", ["field", "expiry", "rotation", "deletion"])
def test_change_at_the_last_moment(replica: Replica, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """What happens between the last read and the change is noticed by the script."""
    name, _ = replica.issue()
    token, strict = replica.catalog.find(name), replica.registry.strict
    reader = strict._changes._reader  # type: ignore[attr-defined]
    read, other = reader.state_of, Replica(replica.client, "pepper")
    happenings: dict[str, Callable[[], object]] = {
        "field": lambda: replica.client.hset(keys.record(token.digest), "comment", "new"),
        "expiry": lambda: replica.client.expire(keys.record(token.digest), 1000),
        "rotation": lambda: other.rotate(name, "0"),
        "deletion": lambda: other.delete(name),
    }
    monkeypatch.setattr(reader, "state_of", lambda read_token: (read(read_token), happenings[how]())[0])
    with pytest.raises(PreconditionFailedError):
        strict.edit(ACTOR, token, {"hosts": "b.test"})

    assert not [each for each in replica.catalog.page(1).tokens if each.hosts == ("b.test",)]


def test_use_is_no_change(replica: Replica) -> None:
    """A token that was used, in its rate and its quota, is still the one that was read."""
    name, secret = replica.issue(quota_max="5", quota_period="day")
    token = replica.catalog.find(name)
    replica.ask(secret)
    change = replica.registry.strict.edit(ACTOR, token, {"comment": "new"})

    assert change.token.revision == replica.catalog.find(name).revision != token.revision


def test_unreadable_token(replica: Replica) -> None:
    """A key that holds no record can be deleted by whoever has read it."""
    digest = "ab" * 32
    replica.client.set(keys.record(digest), "x")
    token = replica.catalog.find(digest)
    with pytest.raises(ConflictError):
        replica.registry.strict.edit(ACTOR, token, {"comment": "c"})
    replica.registry.strict.delete(ACTOR, token)

    assert not replica.client.exists(keys.record(digest))


def _lose() -> Any:
    raise UnknownOutcomeError("Redis stopped responding before it replied")


def test_unreachable_claims(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Redis nothing is created."""

    def fail(*_: Any, **__: Any) -> Any:
        raise StoreUnavailableError("down")

    monkeypatch.setattr(replica.registry._once._claims, "find", fail)
    with pytest.raises(StoreUnavailableError):
        issue(replica)
    assert count(replica) == 0
