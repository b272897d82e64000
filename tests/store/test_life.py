"""The life cycle of a token in one registry on one server."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from app.core.errors import ConflictError, NoSuchTokenError
from app.core.fields import Draft, Leave
from app.core.limits import Limit
from app.core.usage import total
from app.core.verdicts import Verdict
from app.store import keys
from app.store.pepper_check import WrongPepperError
from app.store.transport.connection import connect
from devkit.builders import ACTOR, NOW, make_settings
from devkit.redis_server import RedisServer
from devkit.replica import Replica


@pytest.fixture
def replica(client: Any) -> Replica:
    """Return a replica on an empty database."""
    return Replica(client, "pepper")


def test_disabled_and_enabled_again(replica: Replica) -> None:
    """A disabled token is refused until it is enabled again."""
    name, secret = replica.issue()

    replica.enable(name, enabled=False)
    assert replica.ask(secret) is Verdict.DISABLED_TOKEN
    replica.enable(name, enabled=True)
    assert replica.ask(secret) is Verdict.ALLOWED


@pytest.mark.parametrize("end", ["delete", "rotate"])
@pytest.mark.parametrize("is_moved", [False, True])
def test_secret_of_another_token(replica: Replica, end: str, is_moved: bool) -> None:  # noqa: FBT001
    """A replaced secret leads to its own token alone, whichever token has its successor by now."""
    name, oldest = replica.issue()
    _, old = replica.rotate(name, "3600")
    replica.delete(name) if end == "delete" else replica.rotate(name, "0")
    other = replica.registry.issue(ACTOR, {"hosts": "a.test"}, secret=old).token.id
    if is_moved:
        replica.rotate(other, "3600")

    assert (replica.ask(oldest), replica.ask(old)) == (Verdict.UNKNOWN_TOKEN, Verdict.ALLOWED)
    assert replica.catalog.find(old).id == other
    with pytest.raises(NoSuchTokenError):
        replica.catalog.find(oldest)


def test_not_before(client: Any) -> None:
    """A token that is not valid yet is refused, and no permit is used."""
    replica = Replica(client, "pepper")
    _, secret = replica.issue(not_before="2999-01-01")

    assert replica.ask(secret) is Verdict.TOKEN_NOT_YET_VALID
    client.hset(replica.record(secret), "not_before", NOW - 1)
    assert replica.ask(secret) is Verdict.ALLOWED


def test_edit(replica: Replica) -> None:
    """An edit takes effect with the next request."""
    name, secret = replica.issue(comment="old")

    token = replica.edit(name, {"hosts": "b.test", "comment": "", "email": "a@b.example"})

    assert (token.hosts, token.comment, token.email) == (("b.test",), "", "a@b.example")
    assert (replica.ask(secret), replica.ask(secret, "b.test")) == (Verdict.WRONG_HOST, Verdict.ALLOWED)


@pytest.mark.parametrize(("typed", "low", "high"), [("9000", 8000, 9000), ("0", -1, -1), ("", 1, 1000)])
def test_edit_of_the_lifetime(replica: Replica, typed: str, low: int, high: int) -> None:
    """An edit replaces, removes or keeps the lifetime; record and usage counters expire together."""
    name, secret = replica.issue(ttl_seconds="1000")
    replica.ask(secret)
    replica.edit(name, {"ttl_seconds": typed})

    digest = replica.peppers.digest(secret)
    for key in (keys.record(digest), keys.usage(digest)):
        assert low <= replica.client.ttl(key) <= high


def test_window_survives_an_edit(replica: Replica) -> None:
    """A new limit also counts requests admitted under the old one, over its own whole window."""
    name, secret = replica.issue(rate_limit_max="5", rate_limit_window_sec="300")
    for _ in range(3):
        replica.ask(secret)

    replica.edit(name, {"rate_limit_max": "3", "rate_limit_window_sec": "3000"})

    assert replica.ask(secret) is Verdict.RATE_LIMITED
    assert 2000 < replica.client.ttl(keys.window(replica.peppers.digest(secret))) <= 3000


def test_edit_of_a_deleted_token(replica: Replica) -> None:
    """An edit does not recreate a deleted token."""
    name, _ = replica.issue()
    token = replica.catalog.find(name)
    replica.delete(name)

    assert not replica.registry._changes.edit(ACTOR, token, Draft(token, Leave.LEAVE), 0)
    assert replica.client.keys("tokens:*") == []
    with pytest.raises(NoSuchTokenError):
        replica.edit(name, {"comment": "x"})


def test_rotation_without_grace(replica: Replica) -> None:
    """A rotated token keeps everything but its secret."""
    name, old = replica.issue(email="a@b.example", comment="c", ttl_seconds="600", rate_limit_max="7")
    before = replica.catalog.find(name)

    token, new = replica.rotate(name, "0")

    after = replica.catalog.find(name)
    assert (replica.ask(old), replica.ask(new)) == (Verdict.UNKNOWN_TOKEN, Verdict.ALLOWED)
    assert (token.id, after.id) == (name, name)
    assert (after.hosts, after.email, after.comment) == (before.hosts, before.email, before.comment)
    assert (after.rate_limit_max, after.created_at) == (7, before.created_at)
    assert 500 < replica.client.ttl(replica.record(new)) <= 600
    assert not replica.client.exists(replica.record(old))


def test_rotation_with_grace(replica: Replica) -> None:
    """During the grace period, the old secret allows what the new one does, and afterwards nothing."""
    name, old = replica.issue()
    _, new = replica.rotate(name, "60")

    assert (replica.ask(old), replica.ask(new)) == (Verdict.ALLOWED, Verdict.ALLOWED)
    assert 0 < replica.client.ttl(replica.record(old)) <= 60
    replica.client.delete(replica.record(old))  # simulates its expiry
    assert (replica.ask(old), replica.ask(new)) == (Verdict.UNKNOWN_TOKEN, Verdict.ALLOWED)


def test_grace_ends_with_the_token(replica: Replica) -> None:
    """A grace period never extends a token's lifetime."""
    name, old = replica.issue(ttl_seconds="300")
    replica.rotate(name, "6000")

    assert 0 < replica.client.ttl(replica.record(old)) <= 300


def test_both_secrets_share_one_limit(replica: Replica) -> None:
    """The old secret, the new one and what was admitted before the rotation count together."""
    name, old = replica.issue(rate_limit_max="3")
    replica.ask(old)
    _, new = replica.rotate(name, "60")

    verdicts = [replica.ask(secret) for secret in (old, new, old, new)]

    assert verdicts == [Verdict.ALLOWED] * 2 + [Verdict.RATE_LIMITED] * 2


def test_changes_reach_both_secrets(replica: Replica) -> None:
    """Disabling or deleting a token during a grace period affects both secrets."""
    name, old = replica.issue()
    _, new = replica.rotate(name, "60")

    replica.enable(old, enabled=False)
    assert {replica.ask(old), replica.ask(new)} == {Verdict.DISABLED_TOKEN}
    replica.delete(old)
    assert {replica.ask(old), replica.ask(new)} == {Verdict.UNKNOWN_TOKEN}


def test_rotation_after_rotation(replica: Replica) -> None:
    """After several rotations, each secret is valid for its own grace period."""
    name, first = replica.issue()
    _, second = replica.rotate(name, "60")
    _, third = replica.rotate(name, "60")

    assert {replica.ask(secret) for secret in (first, second, third)} == {Verdict.ALLOWED}
    assert len(replica.catalog.page(1).tokens) == 1


def test_many_rotations(replica: Replica) -> None:
    """The first secret still leads to the token after many rotations during its grace period."""
    name, first = replica.issue()
    newest = [replica.rotate(name, "60")[1] for _ in range(20)][-1]

    assert (replica.ask(first), replica.catalog.find(first).id) == (Verdict.ALLOWED, name)
    assert replica.ask(newest) is Verdict.ALLOWED


def test_rotation_keeps_usage(replica: Replica) -> None:
    """A rotation keeps the usage counters and the first use."""
    name, old = replica.issue()
    replica.ask(old)
    first_used_at = replica.catalog.find(name).first_used_at
    replica.rotate(name, "0")

    token = replica.catalog.find(name)
    seconds, _ = replica.client.time()
    assert token.first_used_at == first_used_at is not None
    assert total(replica.catalog.usage(token, seconds).hours).allowed == 1


def test_rotation_of_an_older_token(replica: Replica) -> None:
    """A rotated token of an older deployment keeps the id that it is listed under."""
    replica.client.hset(replica.record("old-secret"), "hosts", "a.test")
    (listed,) = replica.catalog.page(1).tokens

    token, new = replica.rotate("old-secret", "0")

    assert token.id == listed.id == replica.catalog.find(new).id
    assert [t.id for t in replica.catalog.page(1).tokens] == [listed.id]
    assert replica.decide(new).identity.token_id.decode() == listed.id  # type: ignore[union-attr]


def test_rotation_of_a_disabled_or_missing_token(replica: Replica) -> None:
    """A disabled, deleted or unknown token cannot be rotated."""
    name, secret = replica.issue()
    replica.enable(name, enabled=False)
    with pytest.raises(ConflictError, match="disabled"):
        replica.rotate(name, "0")
    replica.delete(name)
    for unknown in (name, secret, "never-was"):
        with pytest.raises(NoSuchTokenError):
            replica.rotate(unknown, "0")


def test_later_of_two_rotations(replica: Replica) -> None:
    """The second of two concurrent rotations changes nothing and leaves nothing behind."""
    name, _ = replica.issue()
    stale = replica.catalog.find(name)
    _, new = replica.rotate(name, "60")

    assert not replica.registry._changes.rotate(ACTOR, stale, "cd" * 32, 60)
    assert not replica.client.exists(keys.record("cd" * 32))
    assert replica.client.zcard(keys.INDEX) == 1
    assert replica.ask(new) is Verdict.ALLOWED


@pytest.fixture
def threaded_client(redis_server: RedisServer, real_client: Any) -> Any:
    """Return a client for many threads, on an empty database of a real server."""
    assert real_client.ping()
    return connect(make_settings(REDIS_PORT=redis_server.port, REDIS_DEADLINE_MS=10_000), concurrent=False)


def run_concurrently(*operations: Callable[[], Any]) -> list[Any]:
    """Run all *operations* concurrently, and return their results or exceptions."""
    with ThreadPoolExecutor(len(operations)) as pool:
        futures = [pool.submit(operation) for operation in operations]
        return [future.exception() or future.result() for future in futures]


def test_concurrent_rotations(threaded_client: Any) -> None:
    """Of ten concurrent rotations some succeed, and exactly one secret is the newest."""
    replica = Replica(threaded_client, "pepper")
    name, _ = replica.issue()

    outcomes = run_concurrently(*[lambda: replica.rotate(name, "0")] * 10)
    secrets = [outcome[1] for outcome in outcomes if isinstance(outcome, tuple)]

    assert {type(o) for o in outcomes} <= {tuple, ConflictError, NoSuchTokenError}
    assert [replica.ask(secret) for secret in secrets].count(Verdict.ALLOWED) == 1
    assert len(threaded_client.keys("tokens:*")) == threaded_client.zcard(keys.INDEX) == 1


def test_concurrent_edits_and_delete(threaded_client: Any) -> None:
    """No concurrent edit recreates a deleted token."""
    replica = Replica(threaded_client, "pepper")
    for _ in range(20):
        name, secret = replica.issue()
        edit = partial(replica.edit, name, {"comment": "x", "ttl_seconds": "60"})
        run_concurrently(*[edit] * 4, partial(replica.delete, name))
        assert replica.ask(secret) is Verdict.UNKNOWN_TOKEN
        (marker,) = threaded_client.keys("*tokens:*")
        assert marker == keys.ended(replica.peppers.digest(secret)).encode()
        threaded_client.delete(marker)


def test_concurrent_uses_and_delete(threaded_client: Any) -> None:
    """No concurrent request recreates any part of a deleted token."""
    replica = Replica(threaded_client, "pepper")
    for _ in range(20):
        name, secret = replica.issue()
        run_concurrently(*[partial(replica.ask, secret)] * 6, partial(replica.delete, name))
        (marker,) = threaded_client.keys("*tokens:*")
        assert marker == keys.ended(replica.peppers.digest(secret)).encode()
        threaded_client.delete(marker)


def test_limit_is_shared_through_a_rotation(threaded_client: Any) -> None:
    """A rotation during a burst does not change how many requests are admitted."""
    replica = Replica(threaded_client, "pepper", limit=Limit(20, 60))
    name, old = replica.issue()
    uses = [lambda: replica.ask(old)] * 30

    outcomes = run_concurrently(*uses[:15], lambda: replica.rotate(name, "60"), *uses[15:])

    assert outcomes.count(Verdict.ALLOWED) == 20
    assert outcomes.count(Verdict.RATE_LIMITED) == 10


def test_new_pepper(single_client: Any) -> None:
    """A token used under a new pepper moves to it with its expiry, window and usage."""
    name, secret = Replica(single_client, "old").issue(ttl_seconds="600", rate_limit_max="2")
    Replica(single_client, "old").ask(secret)
    replica = Replica(single_client, "new", "old")

    verdicts = [replica.ask(secret) for _ in range(2)]

    assert verdicts == [Verdict.ALLOWED, Verdict.RATE_LIMITED]
    assert 500 < single_client.ttl(replica.record(secret)) <= 600
    assert replica.catalog.find(name).digest == replica.peppers.digest(secret)
    assert len(replica.catalog.page(1).tokens) == 1
    assert Replica(single_client, "new").ask(secret) is Verdict.RATE_LIMITED


def test_only_use_moves_a_token(client: Any) -> None:
    """A refused request does not move a token to the new pepper."""
    _, secret = Replica(client, "old").issue()
    replica = Replica(client, "new", "old")

    assert replica.ask(secret, "b.test") is Verdict.WRONG_HOST
    assert not client.exists(replica.record(secret))


def test_count_of_old_peppers(single_client: Any) -> None:
    """Tokens that have not moved to the new pepper are counted."""
    secrets = [Replica(single_client, "old").issue()[1] for _ in range(3)]
    replica = Replica(single_client, "new", "old")
    replica.issue()
    replica.ask(secrets[0])
    replica.rotate(secrets[1], "0")

    assert replica.catalog.count_old_peppers() == 1
    assert Replica(single_client, "old").catalog.count_old_peppers() == 0


@pytest.mark.parametrize("peppers_before", [("old",), ("old", "new")])
def test_rollout_of_a_pepper(client: Any, peppers_before: tuple[str, ...]) -> None:
    """Replicas with the old and the new configuration both accept all earlier tokens during a rollout."""
    before, after = Replica(client, *peppers_before), Replica(client, "new", "old")
    secrets = [before.issue()[1] for _ in range(3)]
    verdicts = [replica.ask(secret) for _ in range(4) for secret in secrets for replica in (after, before)]

    assert set(verdicts) == {Verdict.ALLOWED}
    assert len(after.catalog.page(1).tokens) == 3


def test_tokens_created_during_a_rollout(client: Any) -> None:
    """Once every replica knows both peppers, each accepts the tokens that the other creates."""
    before, after = Replica(client, "old", "new"), Replica(client, "new", "old")
    secrets = [before.issue()[1], after.issue()[1]]
    verdicts = [replica.ask(secret) for _ in range(3) for secret in secrets for replica in (before, after)]

    assert set(verdicts) == {Verdict.ALLOWED}


def test_rollout_under_load(threaded_client: Any) -> None:
    """Replicas that concurrently move the same tokens between peppers never report one as unknown."""
    before, after = Replica(threaded_client, "old", "new"), Replica(threaded_client, "new", "old")
    secret = before.issue(rate_limit_max="0")[1]

    outcomes = run_concurrently(*[lambda: before.ask(secret), lambda: after.ask(secret)] * 40)

    assert set(outcomes) == {Verdict.ALLOWED}


def test_wrong_pepper(client: Any) -> None:
    """A replica with an unknown pepper refuses to work, and the error says what to do."""
    right, wrong = Replica(client, "right"), Replica(client, "wrong")
    _, secret = right.issue()

    for operation in (lambda: wrong.ask(secret), wrong.issue, lambda: wrong.ask(secret)):
        with pytest.raises(WrongPepperError, match="PEPPER_PREVIOUS"):
            operation()
    assert right.ask(secret) is Verdict.ALLOWED


def test_only_a_token_proves_a_pepper(client: Any) -> None:
    """Only a token that was created or found proves a pepper; an unknown one writes nothing."""
    wrong, right = Replica(client, "wrong"), Replica(client, "right")
    client.hset(right.record("old-secret"), "hosts", "a.test")

    assert wrong.ask("old-secret") is Verdict.UNKNOWN_TOKEN
    assert not client.exists(keys.PEPPERS)
    assert right.ask("old-secret") is Verdict.ALLOWED
    with pytest.raises(WrongPepperError):
        Replica(client, "wrong").ask("old-secret")


def test_forgotten_pepper(client: Any) -> None:
    """An operator may give up all tokens in order to change the pepper."""
    Replica(client, "right").issue()
    Replica(client, "wrong").registry.forget_peppers()

    assert Replica(client, "wrong").ask("some-secret") is Verdict.UNKNOWN_TOKEN


def test_pepper_that_was_replaced(single_client: Any) -> None:
    """Once no replica lists the old pepper, a replica still using it is refused."""
    _, secret = Replica(single_client, "old").issue()
    for peppers in (("old",), ("new", "old"), ("new",)):
        assert Replica(single_client, *peppers).ask(secret) is Verdict.ALLOWED

    with pytest.raises(WrongPepperError):
        Replica(single_client, "old").ask("some-secret")
