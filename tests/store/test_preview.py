"""Decisions that leave no trace."""

from __future__ import annotations

from typing import Any

import pytest

from app.core.ended import Ending
from app.core.errors import NoSuchTokenError
from app.core.limits import Limit
from app.core.restrictions import RESTRICTIONS
from app.core.trials import REFUSING
from app.core.verdicts import Attempt, Verdict
from app.store import keys
from devkit.replica import Replica
from tests.store.conftest import contents

NOWHERE = Attempt("", None)


def attempt(secret: str, host: str = "a.test") -> Attempt:
    """Return a request to *host*."""
    return Attempt(secret, host)


@pytest.mark.parametrize(
    ("typed", "verdict"),
    [
        ({}, Verdict.ALLOWED),
        ({"quota_max": "5", "quota_period": "day"}, Verdict.ALLOWED),
        ({"hosts": "b.test"}, Verdict.WRONG_HOST),
        ({"methods": "GET"}, Verdict.WRONG_METHOD),
        ({"paths": "/a"}, Verdict.WRONG_PATH),
        ({"networks": "::1"}, Verdict.WRONG_NETWORK),
        ({"not_before": "2100-01-01"}, Verdict.TOKEN_NOT_YET_VALID),
    ],
)
def test_nothing_is_written(client: Any, typed: dict[str, str], verdict: Verdict) -> None:
    """A preview equals the decision that follows, by secret and by id, and changes no key."""
    replica = Replica(client, "pepper")
    name, secret = replica.issue(**typed)
    before = contents(client)
    previews = [replica.trials.with_secret(attempt(secret)), replica.trials.of_token(name, attempt(""))]

    assert contents(client) == before
    assert [preview.verdict for preview in previews] == [verdict, verdict]
    assert previews == [replica.decide(secret)] * 2


@pytest.mark.parametrize(
    ("typed", "verdict"),
    [
        ({"rate_limit_max": "1"}, Verdict.RATE_LIMITED),
        ({"quota_max": "1", "quota_period": "month"}, Verdict.QUOTA_EXCEEDED),
    ],
)
def test_limits(client: Any, typed: dict[str, str], verdict: Verdict) -> None:
    """A preview takes no permit, and refuses once a request has taken the last one."""
    replica = Replica(client, "pepper")
    _, secret = replica.issue(**typed)
    free = [replica.trials.with_secret(attempt(secret)).verdict for _ in range(3)]
    used = replica.ask(secret)
    before = contents(client)
    refused = replica.trials.with_secret(attempt(secret))

    assert [*free, used, refused.verdict] == [Verdict.ALLOWED] * 4 + [verdict]
    assert refused.refusal
    assert contents(client) == before


def test_clock_set_back(client: Any) -> None:
    """A window from the future, which a decision discards, is kept by a preview."""
    replica = Replica(client, "pepper", limit=Limit(1, 60))
    _, secret = replica.issue()
    window = keys.window(replica.peppers.digest(secret))
    client.lpush(window, "4000000000000000")

    assert replica.trials.with_secret(attempt(secret)).verdict is Verdict.ALLOWED
    assert client.exists(window)
    assert replica.ask(secret) is Verdict.ALLOWED


def test_ended(client: Any) -> None:
    """A token that was deleted or replaced refuses as its secret does, and says how it ended."""
    replica = Replica(client, "pepper")
    name, old = replica.issue()
    _, new = replica.rotate(name, "0")
    digests = [replica.peppers.digest(secret) for secret in (old, new)]
    replica.delete(name)

    found = [replica.trials.of_token(each, attempt("")) for each in (name, *digests)]
    assert [each.ending for each in found] == [Ending.DELETED, Ending.REPLACED, Ending.DELETED]
    assert {each.verdict for each in found} == {Verdict.UNKNOWN_TOKEN}
    assert found[1:] == [replica.decide(secret) for secret in (old, new)]
    with pytest.raises(NoSuchTokenError):
        replica.trials.of_token("0" * 16, NOWHERE)


def test_grace_period(client: Any) -> None:
    """A replaced secret is valid for its grace period, in a preview too."""
    replica = Replica(client, "pepper")
    name, old = replica.issue()
    replica.rotate(name, "60")

    assert replica.trials.with_secret(attempt(old)) == replica.decide(old)


def test_previous_pepper(single_client: Any) -> None:
    """A token of a previous pepper is found and not moved."""
    _, secret = Replica(single_client, "old").issue()
    replica = Replica(single_client, "new", "old")
    before = contents(single_client)

    assert replica.trials.with_secret(attempt(secret)).verdict is Verdict.ALLOWED
    assert contents(single_client) == before


def test_refusing_fields() -> None:
    """Every verdict on a known token names the field that refuses."""
    of_no_token = {Verdict.NO_CREDENTIAL, Verdict.MALFORMED_CREDENTIAL, Verdict.MISTYPED_TOKEN}
    of_no_token |= {Verdict.UNKNOWN_TOKEN, Verdict.THROTTLED_CLIENT, Verdict.UNAVAILABLE, Verdict.ALLOWED}

    assert REFUSING.keys() == {*Verdict} - of_no_token
    assert {restriction.field for restriction in RESTRICTIONS} <= {*REFUSING.values()}
