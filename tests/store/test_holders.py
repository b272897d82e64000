"""The holder of a token is recognized as /auth would, and changes that token alone."""

from __future__ import annotations

from typing import Any

import pytest

from app.core.ended import MAX_ENDED, REMEMBERED_DAYS, Ending
from app.core.errors import ConflictError, NoSuchTokenError, StoreUnavailableError, TooManyRotationsError
from app.core.fields import InvalidFieldsError
from app.core.held import Held
from app.core.holders import MAX_ROTATIONS
from app.core.verdicts import Attempt, Decision, Verdict
from app.store import keys
from devkit.builders import ACTOR
from devkit.replica import Replica
from devkit.waiting import until

HERE, ELSEWHERE = "192.0.2.7", "198.51.100.7"


@pytest.fixture
def replica(client: Any) -> Replica:
    """Return a replica on an empty database."""
    return Replica(client, "pepper")


def found(
    replica: Replica, secret: str, address: str | None = None, *, anywhere: bool = False
) -> Held | Decision:
    """Return the token of *secret* or the refusal."""
    return replica.holders.recognize(Attempt(secret, None, address=address), anywhere=anywhere)


def held(replica: Replica, secret: str) -> Held:
    """Return the token of *secret*."""
    holder = found(replica, secret)
    assert isinstance(holder, Held)
    return holder


def refused(replica: Replica, secret: str) -> Verdict:
    """Return why *secret* is refused."""
    decision = found(replica, secret)
    assert isinstance(decision, Decision)
    return decision.verdict


def stored(client: Any) -> dict[Any, Any]:
    """Return a dump of every key."""
    return {key: client.dump(key) for key in client.scan_iter()}


def test_recognized(single_client: Any) -> None:
    """To be recognized spends nothing and writes nothing, however often."""
    replica = Replica(single_client, "pepper")
    name, secret = replica.issue(quota_max="2", quota_period="day", rate_limit_max="2")
    replica.ask(secret)
    before = stored(single_client)
    tokens = [held(replica, secret) for _ in range(5)]

    assert [(each.token.id, each.is_replaced) for each in tokens] == [(name, False)] * 5
    assert stored(single_client) == before
    assert replica.ask(secret) is Verdict.ALLOWED


@pytest.mark.parametrize("state", ["unknown", "mistyped", "deleted", "disabled", "not yet", "expired"])
def test_refused(replica: Replica, state: str) -> None:
    """A secret that /auth refuses for every request is refused with the same verdict."""
    name, secret = replica.issue(**({"not_before": "2999-01-01"} if state == "not yet" else {}))
    if state == "deleted":
        replica.delete(name)
    elif state == "disabled":
        replica.enable(name, enabled=False)
    elif state == "expired":
        replica.edit(name, {"ttl_seconds": "3600"})
        replica.ask(secret)
        replica.edit(name, {"ttl_seconds": "1"})
        until(lambda: replica.ask(secret) is Verdict.EXPIRED_TOKEN)
    secret = {"unknown": "not-ours", "mistyped": "acl_" + "a" * 38}.get(state, secret)

    assert refused(replica, secret) is replica.ask(secret)
    assert refused(replica, secret) is not Verdict.ALLOWED


def test_mistyped_secret_of_a_token(replica: Replica, client: Any) -> None:
    """A secret with our prefix and a wrong checksum is refused, even if it is that of a token."""
    secret = "acl_" + "a" * 38
    client.hset(replica.record(secret), mapping={"hosts": "a.test"})

    assert refused(replica, secret) is replica.ask(secret) is Verdict.MISTYPED_TOKEN


def test_malformed(replica: Replica) -> None:
    """A fault in the credential is the refusal, and what else was read does not matter."""
    for fault in (Verdict.MALFORMED_CREDENTIAL, Verdict.NO_CREDENTIAL):
        decision = replica.holders.recognize(Attempt("", "a.test", fault), anywhere=True)
        assert decision == Decision(fault)


@pytest.mark.parametrize(
    ("networks", "address", "is_inside"),
    [
        ("", None, True),
        ("192.0.2.0/24", HERE, True),
        ("192.0.2.0/24", ELSEWHERE, False),
        ("192.0.2.0/24", None, False),
        ("2001:db8::/32", HERE, False),
    ],
)
def test_networks(replica: Replica, networks: str, address: str | None, *, is_inside: bool) -> None:
    """A token with networks is recognized in these alone, unless the address does not matter."""
    _, secret = replica.issue(networks=networks)
    here, anywhere = found(replica, secret, address), found(replica, secret, address, anywhere=True)

    assert isinstance(anywhere, Held)
    assert isinstance(here, Held) is is_inside
    assert isinstance(here, Held) or here.verdict is Verdict.WRONG_NETWORK


def test_unreadable(replica: Replica, client: Any) -> None:
    """With a record that /auth can't read, its holder is told nothing."""
    _, secret = replica.issue()
    client.hset(replica.record(secret), "rate_limit_max", "x")

    with pytest.raises(StoreUnavailableError):
        found(replica, secret)


def test_wrong_pepper(client: Any) -> None:
    """With a wrong pepper, the answer is an error rather than that the token is unknown."""
    _, secret = Replica(client, "pepper").issue()

    with pytest.raises(StoreUnavailableError, match="PEPPER"):
        found(Replica(client, "another"), secret)


def test_rotated(replica: Replica) -> None:
    """The new secret is the token's; the old one is known as replaced, and can't rotate the token."""
    name, old = replica.issue()
    new = replica.holders.rotate(ACTOR, held(replica, old), "60").secret

    assert [held(replica, secret).token.id for secret in (old, new)] == [name, name]
    assert [held(replica, secret).is_replaced for secret in (old, new)] == [True, False]
    with pytest.raises(ConflictError, match="replaced"):
        replica.holders.rotate(ACTOR, held(replica, old), "60")
    assert [replica.ask(secret) for secret in (old, new)] == [Verdict.ALLOWED] * 2


def test_two_rotations_at_once(replica: Replica) -> None:
    """Of two rotations by the same secret, one wins; the other makes no secret."""
    _, old = replica.issue()
    first, second = held(replica, old), held(replica, old)
    new = replica.holders.rotate(ACTOR, first, "60").secret

    with pytest.raises(ConflictError):
        replica.holders.rotate(ACTOR, second, "60")
    assert not held(replica, new).is_replaced
    assert len(list(replica.catalog.all_listed())) == 1


def test_lost_rotations_are_not_counted(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rotation that another one overtakes is not one of those that the holder has in an hour."""
    monkeypatch.setattr("app.core.holders.MAX_ROTATIONS", 2)
    _, old = replica.issue()
    loser = held(replica, old)
    new = replica.holders.rotate(ACTOR, held(replica, old), "60").secret
    with pytest.raises(ConflictError):
        replica.holders.rotate(ACTOR, loser, "60")

    newest = replica.holders.rotate(ACTOR, held(replica, new), "60").secret
    assert replica.ask(newest) is Verdict.ALLOWED
    with pytest.raises(TooManyRotationsError):
        replica.holders.rotate(ACTOR, loser, "60")


def test_refused_rotations_are_not_counted(real_client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rotation that Redis refuses is not one of those that the holder has in an hour."""
    monkeypatch.setattr("app.core.holders.MAX_ROTATIONS", 1)
    replica = Replica(real_client, "pepper")
    _, secret = replica.issue()
    real_client.execute_command("ACL SETUSER default -rename")
    try:
        with pytest.raises(StoreUnavailableError):
            replica.holders.rotate(ACTOR, held(replica, secret), "0")
    finally:
        real_client.execute_command("ACL SETUSER default +rename")

    assert replica.holders.rotate(ACTOR, held(replica, secret), "0").secret != secret


def test_bound_of_rotations() -> None:
    """One token leaves less than half of the list of ended tokens, as long as its entries are kept."""
    assert 24 * REMEMBERED_DAYS * MAX_ROTATIONS < MAX_ENDED / 2


def test_ended(replica: Replica) -> None:
    """The current secret ends the token and with it every older secret."""
    _, old = replica.issue()
    new = replica.holders.rotate(ACTOR, held(replica, old), "60").secret
    replica.holders.end(ACTOR, held(replica, new))

    assert [replica.ask(secret) for secret in (old, new)] == [Verdict.UNKNOWN_TOKEN] * 2
    assert [refused(replica, secret) for secret in (old, new)] == [Verdict.UNKNOWN_TOKEN] * 2


def test_replaced_secret_ended(replica: Replica) -> None:
    """A replaced secret ends itself, and neither the token nor its other secrets."""
    _, oldest = replica.issue()
    old = replica.holders.rotate(ACTOR, held(replica, oldest), "60").secret
    new = replica.holders.rotate(ACTOR, held(replica, old), "60").secret
    holder = held(replica, oldest)
    replica.holders.end(ACTOR, holder)

    verdicts = [replica.ask(secret) for secret in (oldest, old, new)]
    assert verdicts == [Verdict.UNKNOWN_TOKEN, Verdict.ALLOWED, Verdict.ALLOWED]
    with pytest.raises(NoSuchTokenError):
        replica.holders.end(ACTOR, holder)


def test_rotated_meanwhile(replica: Replica) -> None:
    """A deletion that a rotation overtakes changes nothing; sent again, it ends the old secret alone."""
    _, old = replica.issue()
    holder = held(replica, old)
    new = replica.holders.rotate(ACTOR, held(replica, old), "60").secret
    with pytest.raises(NoSuchTokenError):
        replica.holders.end(ACTOR, holder)
    assert replica.ask(old) is Verdict.ALLOWED

    replica.holders.end(ACTOR, held(replica, old))
    assert (replica.ask(old), replica.ask(new)) == (Verdict.UNKNOWN_TOKEN, Verdict.ALLOWED)


def test_only_redirects_are_retired(replica: Replica, client: Any) -> None:
    """To retire the name of a record, or of nothing, changes nothing."""
    _, secret = replica.issue()
    holder = held(replica, secret)

    with pytest.raises(NoSuchTokenError):
        replica.registry.retire(ACTOR, holder)
    assert client.exists(keys.record(holder.token.digest))
    assert replica.ask(secret) is Verdict.ALLOWED


def test_old_pepper(single_client: Any) -> None:
    """A secret under a previous pepper is the token's, before and after its record moves."""
    _, secret = Replica(single_client, "old").issue()
    replica = Replica(single_client, "new", "old")
    before = held(replica, secret).is_replaced
    replica.ask(secret)
    until(lambda: single_client.exists(replica.record(secret)))

    assert (before, held(replica, secret).is_replaced) == (False, False)
    new = replica.holders.rotate(ACTOR, held(replica, secret), "60").secret
    replica.holders.end(ACTOR, held(replica, secret))
    assert (refused(replica, secret), replica.ask(new)) == (Verdict.UNKNOWN_TOKEN, Verdict.ALLOWED)


def test_unknown_pepper(single_client: Any) -> None:
    """A replica that does not know the pepper to which a token moved does not end its secret by halves."""
    old, new = Replica(single_client, "old"), Replica(single_client, "new", "old")
    _, secret = old.issue()
    new.ask(secret)
    until(lambda: single_client.exists(new.record(secret)))
    with pytest.raises(ConflictError, match="under another PEPPER"):
        old.holders.end(ACTOR, held(old, secret))

    assert [replica.ask(secret) for replica in (old, new)] == [Verdict.ALLOWED] * 2
    new.holders.end(ACTOR, held(new, secret))
    assert [replica.ask(secret) for replica in (old, new)] == [Verdict.UNKNOWN_TOKEN] * 2


@pytest.mark.parametrize("marker", [None, b"", b"{id}", b"{id}\nexpired\n\n\n", b"replaced\n\nreplaced\n\n"])
def test_redirect_of_no_rotation(replica: Replica, client: Any, marker: bytes | None) -> None:
    """Only a redirect whose expiry marker says that a rotation left it is deleted."""
    name, old = replica.issue()
    replica.rotate(name, "60")
    remembered = keys.ended(replica.peppers.digest(old))
    client.delete(remembered)
    if marker is not None:
        client.set(remembered, marker.replace(b"{id}", name.encode()), px=keys.REMEMBERED_MS)
    holder = held(replica, old)
    with pytest.raises(ConflictError):
        replica.holders.end(ACTOR, holder)

    assert replica.ask(old) is Verdict.ALLOWED
    client.delete(replica.record(old))
    with pytest.raises(NoSuchTokenError):
        replica.holders.end(ACTOR, holder)


def test_ended_secret_is_remembered(replica: Replica, client: Any) -> None:
    """A replaced secret that its holder ended is remembered from that moment on, as long as any other."""
    name, old = replica.issue()
    new = replica.holders.rotate(ACTOR, held(replica, old), "604800").secret
    assert not replica.catalog.ended().tokens
    replica.holders.end(ACTOR, held(replica, old))

    remembered = [(each.id, each.ending, each.digest) for each in replica.catalog.ended().tokens]
    assert remembered == [(name, Ending.REPLACED, replica.peppers.digest(old))]
    assert replica.decide(old).ending is Ending.REPLACED
    assert 0 < client.pttl(keys.ended(replica.peppers.digest(old))) <= keys.REMEMBERED_MS
    assert replica.ask(new) is Verdict.ALLOWED


def test_too_many_rotations(single_client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token is rotated by its holder so many times in an hour; a bad request does not count."""
    monkeypatch.setattr("app.core.holders.MAX_ROTATIONS", 2)
    replica = Replica(single_client, "pepper")
    name, secret = replica.issue()
    for _ in range(2):
        with pytest.raises(InvalidFieldsError):
            replica.holders.rotate(ACTOR, held(replica, secret), "604801")
        secret = replica.holders.rotate(ACTOR, held(replica, secret), "0").secret

    with pytest.raises(TooManyRotationsError):
        replica.holders.rotate(ACTOR, held(replica, secret), "0")
    assert replica.ask(secret) is Verdict.ALLOWED
    claims = [key for key in single_client.scan_iter() if b"rotation" in key]
    assert {0 < single_client.ttl(key) <= 3600 for key in claims} == {True}
    replica.rotate(name, "0")  # the operator is not bound
