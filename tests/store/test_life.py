"""What happens to a token between its first day and its last, in one registry on one server."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from app.core.errors import ConflictError, NoSuchTokenError
from app.core.fields import Leave
from app.core.gate import Verdict
from app.core.limits import Limit
from app.core.usage import total
from app.store import keys
from app.store.pepper_check import WrongPepperError
from app.store.transport.connection import connect
from devkit.builders import NOW, make_settings
from devkit.redis_server import RedisServer
from devkit.replica import Replica


@pytest.fixture
def replica(client: Any) -> Replica:
    """Return a replica on an empty database."""
    return Replica(client, "pepper")


def test_disabled_and_enabled_again(replica: Replica) -> None:
    """A token that was switched off is refused until it is switched on."""
    name, text = replica.issue()

    replica.registry.enable(name, enabled=False)
    assert replica.ask(text) is Verdict.DISABLED
    replica.registry.enable(name, enabled=True)
    assert replica.ask(text) is Verdict.ALLOWED


def test_not_before(client: Any) -> None:
    """A token whose time has not come is refused, and takes no permit."""
    replica = Replica(client, "pepper")
    _, text = replica.issue(not_before="2999-01-01")

    assert replica.ask(text) is Verdict.NOT_YET
    client.hset(replica.record(text), "not_before", NOW - 1)
    assert replica.ask(text) is Verdict.ALLOWED


def test_edit(replica: Replica) -> None:
    """An edit holds from the next request on."""
    name, text = replica.issue(comment="old")

    token = replica.registry.edit(name, {"hosts": "b.test", "comment": "", "email": "a@b.example"})

    assert (token.hosts, token.comment, token.email) == (("b.test",), "", "a@b.example")
    assert (replica.ask(text), replica.ask(text, "b.test")) == (Verdict.WRONG_HOST, Verdict.ALLOWED)


@pytest.mark.parametrize(("typed", "low", "high"), [("9000", 8000, 9000), ("0", -1, -1), ("", 1, 1000)])
def test_edit_of_the_life(replica: Replica, typed: str, low: int, high: int) -> None:
    """A life is set anew, for ever, or left as it was; record and usage end together."""
    name, text = replica.issue(ttl_seconds="1000")
    replica.ask(text)
    replica.registry.edit(name, {"ttl_seconds": typed})

    digest = replica.peppers.digest(text)
    for key in (keys.record(digest), keys.usage(digest)):
        assert low <= replica.client.ttl(key) <= high


def test_window_survives_an_edit(replica: Replica) -> None:
    """A new limit judges what was admitted under the old one, over the whole of its own window."""
    name, text = replica.issue(rate_limit_max="5", rate_limit_window_sec="300")
    for _ in range(3):
        replica.ask(text)

    replica.registry.edit(name, {"rate_limit_max": "3", "rate_limit_window_sec": "3000"})

    assert replica.ask(text) is Verdict.RATE_LIMITED
    assert 2000 < replica.client.ttl(keys.window(replica.peppers.digest(text))) <= 3000


def test_edit_of_a_deleted_token(replica: Replica) -> None:
    """An edit brings nothing back."""
    name, _ = replica.issue()
    token = replica.registry.find(name)
    replica.registry.delete(name)

    assert not replica.registry._store.edit(token, token, Leave.LEAVE, 0)
    assert replica.client.keys("tokens:*") == []
    with pytest.raises(NoSuchTokenError):
        replica.registry.edit(name, {"comment": "x"})


def test_rotation_without_grace(replica: Replica) -> None:
    """A rotated token keeps everything but its text."""
    name, old = replica.issue(email="a@b.example", comment="c", ttl_seconds="600", rate_limit_max="7")
    before = replica.registry.find(name)

    token, new = replica.registry.rotate(name, "0")

    after = replica.registry.find(name)
    assert (replica.ask(old), replica.ask(new)) == (Verdict.UNKNOWN, Verdict.ALLOWED)
    assert (token.id, after.id) == (name, name)
    assert (after.hosts, after.email, after.comment) == (before.hosts, before.email, before.comment)
    assert (after.rate_limit_max, after.created_at) == (7, before.created_at)
    assert 500 < replica.client.ttl(replica.record(new)) <= 600
    assert not replica.client.exists(replica.record(old))


def test_rotation_with_grace(replica: Replica) -> None:
    """During its grace the old text opens what the new one opens, and then nothing."""
    name, old = replica.issue()
    _, new = replica.registry.rotate(name, "60")

    assert (replica.ask(old), replica.ask(new)) == (Verdict.ALLOWED, Verdict.ALLOWED)
    assert 0 < replica.client.ttl(replica.record(old)) <= 60
    replica.client.delete(replica.record(old))  # as its expiry does
    assert (replica.ask(old), replica.ask(new)) == (Verdict.UNKNOWN, Verdict.ALLOWED)


def test_grace_ends_with_the_token(replica: Replica) -> None:
    """A grace period never prolongs a token's life."""
    name, old = replica.issue(ttl_seconds="300")
    replica.registry.rotate(name, "6000")

    assert 0 < replica.client.ttl(replica.record(old)) <= 300


def test_both_texts_share_one_quota(replica: Replica) -> None:
    """The old text, the new one and what was admitted before the rotation count together."""
    name, old = replica.issue(rate_limit_max="3")
    replica.ask(old)
    _, new = replica.registry.rotate(name, "60")

    verdicts = [replica.ask(text) for text in (old, new, old, new)]

    assert verdicts == [Verdict.ALLOWED] * 2 + [Verdict.RATE_LIMITED] * 2


def test_changes_reach_both_texts(replica: Replica) -> None:
    """What is disabled or deleted during a grace period is so for both texts."""
    name, old = replica.issue()
    _, new = replica.registry.rotate(name, "60")

    replica.registry.enable(old, enabled=False)
    assert {replica.ask(old), replica.ask(new)} == {Verdict.DISABLED}
    replica.registry.delete(old)
    assert {replica.ask(old), replica.ask(new)} == {Verdict.UNKNOWN}


def test_rotation_after_rotation(replica: Replica) -> None:
    """Each text of a chain is valid for its own grace period."""
    name, first = replica.issue()
    _, second = replica.registry.rotate(name, "60")
    _, third = replica.registry.rotate(name, "60")

    assert {replica.ask(text) for text in (first, second, third)} == {Verdict.ALLOWED}
    assert len(replica.registry.page(1).tokens) == 1


def test_many_rotations(replica: Replica) -> None:
    """However often a token is rotated during its first text's grace, that text leads to it."""
    name, first = replica.issue()
    newest = [replica.registry.rotate(name, "60")[1] for _ in range(20)][-1]

    assert (replica.ask(first), replica.registry.find(first).id) == (Verdict.ALLOWED, name)
    assert replica.ask(newest) is Verdict.ALLOWED


def test_rotation_keeps_usage(replica: Replica) -> None:
    """The counts of use and the first use belong to the token, not to its text."""
    name, old = replica.issue()
    replica.ask(old)
    first_used_at = replica.registry.find(name).first_used_at
    replica.registry.rotate(name, "0")

    token = replica.registry.find(name)
    seconds, _ = replica.client.time()
    assert token.first_used_at == first_used_at is not None
    assert total(replica.registry._store.usage(token, seconds).hours).allowed == 1


def test_rotation_of_an_older_token(replica: Replica) -> None:
    """A token of an older deployment keeps the id that it is listed with."""
    replica.client.hset(replica.record("old-text"), "hosts", "a.test")
    (listed,) = replica.registry.page(1).tokens

    token, new = replica.registry.rotate("old-text", "0")

    assert token.id == listed.id == replica.registry.find(new).id
    assert [t.id for t in replica.registry.page(1).tokens] == [listed.id]
    assert replica.decide(new).identity.token_id.decode() == listed.id  # type: ignore[union-attr]


def test_rotation_of_what_is_not_there(replica: Replica) -> None:
    """What is disabled, deleted or unknown is not rotated."""
    name, text = replica.issue()
    replica.registry.enable(name, enabled=False)
    with pytest.raises(ConflictError, match="disabled"):
        replica.registry.rotate(name, "0")
    replica.registry.delete(name)
    for gone in (name, text, "never-was"):
        with pytest.raises(NoSuchTokenError):
            replica.registry.rotate(gone, "0")


def test_rotation_that_lost(replica: Replica) -> None:
    """The second of two rotations of the same text changes nothing and leaves nothing behind."""
    name, _ = replica.issue()
    stale = replica.registry.find(name)
    _, new = replica.registry.rotate(name, "60")

    assert not replica.registry._store.rotate(stale, "cd" * 32, 60)
    assert not replica.client.exists(keys.record("cd" * 32))
    assert replica.client.zcard(keys.INDEX) == 1
    assert replica.ask(new) is Verdict.ALLOWED


@pytest.fixture
def crowd(redis_server: RedisServer, real_client: Any) -> Any:
    """Return a client whose pool serves many threads, on an empty database of a real server."""
    assert real_client.ping()
    return connect(make_settings(REDIS_PORT=redis_server.port, REDIS_DEADLINE_MS=10_000))


def at_once(*acts: Callable[[], Any]) -> list[Any]:
    """Do everything at once; return what came of it, exceptions included."""
    with ThreadPoolExecutor(len(acts)) as pool:
        futures = [pool.submit(act) for act in acts]
        return [future.exception() or future.result() for future in futures]


def test_rotations_at_once(crowd: Any) -> None:
    """Of ten rotations at once each loses or wins, and exactly one text is the newest."""
    replica = Replica(crowd, "pepper")
    name, _ = replica.issue()

    outcomes = at_once(*[lambda: replica.registry.rotate(name, "0")] * 10)
    texts = [outcome[1] for outcome in outcomes if isinstance(outcome, tuple)]

    assert {type(o) for o in outcomes} <= {tuple, ConflictError, NoSuchTokenError}
    assert [replica.ask(text) for text in texts].count(Verdict.ALLOWED) == 1
    assert len(crowd.keys("tokens:*")) == crowd.zcard(keys.INDEX) == 1


def test_edits_and_a_delete_at_once(crowd: Any) -> None:
    """Whatever edits race with a delete, the token is gone for good."""
    replica = Replica(crowd, "pepper")
    for _ in range(20):
        name, text = replica.issue()
        edit = partial(replica.registry.edit, name, {"comment": "x", "ttl_seconds": "60"})
        at_once(*[edit] * 4, partial(replica.registry.delete, name))
        assert replica.ask(text) is Verdict.UNKNOWN
    assert crowd.keys("*tokens:*") == []


def test_uses_and_a_delete_at_once(crowd: Any) -> None:
    """A use that races with a delete brings nothing of the token back."""
    replica = Replica(crowd, "pepper")
    for _ in range(20):
        name, text = replica.issue()
        at_once(*[partial(replica.ask, text)] * 6, partial(replica.registry.delete, name))
        assert crowd.keys("*tokens:*") == []


def test_quota_is_shared_through_a_rotation(crowd: Any) -> None:
    """A rotation amid a burst neither grants nor takes a permit."""
    replica = Replica(crowd, "pepper", limit=Limit(20, 60))
    name, old = replica.issue()
    uses = [lambda: replica.ask(old)] * 30

    outcomes = at_once(*uses[:15], lambda: replica.registry.rotate(name, "60"), *uses[15:])

    assert outcomes.count(Verdict.ALLOWED) == 20
    assert outcomes.count(Verdict.RATE_LIMITED) == 10


def test_new_pepper(single_client: Any) -> None:
    """A token that is used under a new pepper moves to it, with its life, window and usage."""
    name, text = Replica(single_client, "old").issue(ttl_seconds="600", rate_limit_max="2")
    Replica(single_client, "old").ask(text)
    replica = Replica(single_client, "new", "old")

    verdicts = [replica.ask(text) for _ in range(2)]

    assert verdicts == [Verdict.ALLOWED, Verdict.RATE_LIMITED]
    assert 500 < single_client.ttl(replica.record(text)) <= 600
    assert replica.registry.find(name).digest == replica.peppers.digest(text)
    assert len(replica.registry.page(1).tokens) == 1
    assert Replica(single_client, "new").ask(text) is Verdict.RATE_LIMITED


def test_only_use_moves_a_token(client: Any) -> None:
    """A refused request leaves a token where it is."""
    _, text = Replica(client, "old").issue()
    replica = Replica(client, "new", "old")

    assert replica.ask(text, "b.test") is Verdict.WRONG_HOST
    assert not client.exists(replica.record(text))


def test_count_of_old_peppers(single_client: Any) -> None:
    """The tokens that have not met the new pepper are counted."""
    texts = [Replica(single_client, "old").issue()[1] for _ in range(3)]
    replica = Replica(single_client, "new", "old")
    replica.issue()
    replica.ask(texts[0])
    replica.registry.rotate(texts[1], "0")

    assert replica.registry.count_old_peppers() == 1
    assert Replica(single_client, "old").registry.count_old_peppers() == 0


@pytest.mark.parametrize("waiting", [("old",), ("old", "new")])
def test_rollout_of_a_pepper(client: Any, waiting: tuple[str, ...]) -> None:
    """Replicas of both configurations, asked in turn, know every token that was there before the rollout."""
    before, after = Replica(client, *waiting), Replica(client, "new", "old")
    texts = [before.issue()[1] for _ in range(3)]
    verdicts = [replica.ask(text) for _ in range(4) for text in texts for replica in (after, before)]

    assert set(verdicts) == {Verdict.ALLOWED}
    assert len(after.registry.page(1).tokens) == 3


def test_tokens_made_during_a_rollout(client: Any) -> None:
    """Once every replica knows both peppers, a token that any of them makes is known to all."""
    before, after = Replica(client, "old", "new"), Replica(client, "new", "old")
    texts = [before.issue()[1], after.issue()[1]]
    verdicts = [replica.ask(text) for _ in range(3) for text in texts for replica in (before, after)]

    assert set(verdicts) == {Verdict.ALLOWED}


def test_rollout_under_load(crowd: Any) -> None:
    """However two configurations race for the same tokens, no request hears that one is unknown."""
    before, after = Replica(crowd, "old", "new"), Replica(crowd, "new", "old")
    text = before.issue(rate_limit_max="0")[1]

    outcomes = at_once(*[lambda: before.ask(text), lambda: after.ask(text)] * 40)

    assert set(outcomes) == {Verdict.ALLOWED}


def test_wrong_pepper(client: Any) -> None:
    """A replica with a pepper that nobody has seen decides nothing, and says what to do."""
    right, wrong = Replica(client, "right"), Replica(client, "wrong")
    _, text = right.issue()

    for act in (lambda: wrong.ask(text), wrong.issue, lambda: wrong.ask(text)):
        with pytest.raises(WrongPepperError, match="PEPPER_PREVIOUS"):
            act()
    assert right.ask(text) is Verdict.ALLOWED


def test_first_come_is_not_right(client: Any) -> None:
    """Only a token that was made or found proves a pepper; an unknown one proves and writes nothing."""
    wrong, right = Replica(client, "wrong"), Replica(client, "right")
    client.hset(right.record("old-text"), "hosts", "a.test")

    assert wrong.ask("old-text") is Verdict.UNKNOWN
    assert not client.exists(keys.PEPPERS)
    assert right.ask("old-text") is Verdict.ALLOWED
    with pytest.raises(WrongPepperError):
        Replica(client, "wrong").ask("old-text")


def test_forgotten_pepper(client: Any) -> None:
    """An operator may give up all tokens for a new pepper."""
    Replica(client, "right").issue()
    Replica(client, "wrong").registry.forget_peppers()

    assert Replica(client, "wrong").ask("some-text") is Verdict.UNKNOWN


def test_pepper_that_was_replaced(single_client: Any) -> None:
    """When no replica names the old pepper any more, one that was left behind with it is found out."""
    _, text = Replica(single_client, "old").issue()
    for peppers in (("old",), ("new", "old"), ("new",)):
        assert Replica(single_client, *peppers).ask(text) is Verdict.ALLOWED

    with pytest.raises(WrongPepperError):
        Replica(single_client, "old").ask("some-text")
