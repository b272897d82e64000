"""A token's expiry: one moment in every place, and remembered for 30 days."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count
from typing import Any

import pytest

from app.core.tokens import inherited_id
from app.core.verdicts import Identity, Verdict
from app.store import keys
from devkit.builders import ACTOR
from devkit.replica import Replica
from devkit.waiting import until

DAY_MS = 86_400_000


@pytest.fixture
def replica(client: Any) -> Replica:
    """Return a replica on an empty database."""
    return Replica(client, "pepper")


def expiry_ms(replica: Replica, name: str) -> int:
    """Return when a key expires, in milliseconds since the epoch."""
    return int(replica.client.execute_command("PEXPIRETIME", name))


def ticking() -> Iterator[float]:
    """Yield times 0.9 seconds apart, so that two readings of the clock usually differ in their second."""
    return count(int(time.time()) + 0.95, 0.9)


def rfc3339(seconds: int) -> str:
    """Return a time in the format of the form."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


@pytest.mark.parametrize("how", ["expires_at", "ttl_seconds", "default"])
def test_expiry_of_a_new_token(client: Any, how: str) -> None:
    """The expiry in the answer, in the record and in later reads is exactly the one requested."""
    clock = ticking()
    replica = Replica(client, "pepper", now=lambda: next(clock), ttl_s=700)
    requested = int(time.time()) + 600
    typed = {"expires_at": rfc3339(requested), "ttl_seconds": "600"}

    issued = replica.registry.issue(
        ACTOR, {"hosts": "a.test"} | {name: typed[name] for name in typed if name == how}
    )
    token, secret = issued.token, issued.secret

    created_at = token.created_at or 0
    expires_at = {"expires_at": requested, "ttl_seconds": created_at + 600, "default": created_at + 700}[how]
    assert token.expires_at == replica.catalog.find(token.id).expires_at == expires_at
    assert expiry_ms(replica, replica.record(secret)) == expires_at * 1000


@pytest.mark.parametrize("how", ["expires_at", "ttl_seconds"])
def test_expiry_of_an_edited_token(client: Any, how: str) -> None:
    """After an edit, the answer, the record and its usage counters have the same expiry."""
    clock = ticking()
    replica = Replica(client, "pepper", now=lambda: next(clock))
    name, secret = replica.issue()
    replica.ask(secret)
    requested = int(time.time()) + 600

    token = replica.edit(name, {how: rfc3339(requested) if how == "expires_at" else "600"})

    assert token.expires_at == replica.catalog.find(name).expires_at
    assert how == "ttl_seconds" or token.expires_at == requested
    for key in (keys.record(token.digest), keys.usage(token.digest)):
        assert expiry_ms(replica, key) == (token.expires_at or 0) * 1000
    replica.edit(name, {"comment": "x"})
    assert expiry_ms(replica, replica.record(secret)) == (token.expires_at or 0) * 1000


def test_end_of_a_grace_period(client: Any) -> None:
    """The old secret expires with its grace period, and a rotation does not change the token's expiry."""
    replica = Replica(client, "pepper", now=lambda: now + 0.9)
    now = int(time.time())
    name, old = replica.issue(ttl_seconds="600")

    _, new = replica.rotate(name, "60")

    assert expiry_ms(replica, replica.record(old)) == (now + 60) * 1000
    assert expiry_ms(replica, replica.record(new)) == (now + 600) * 1000


def test_expiry_by_another_clock(client: Any) -> None:
    """An expiry is an absolute time, stored exactly even if the host's clock is wrong."""
    replica = Replica(client, "pepper", now=lambda: time.time() - 300)
    requested = int(time.time()) + 600

    _, secret = replica.issue(expires_at=rfc3339(requested))

    assert expiry_ms(replica, replica.record(secret)) == requested * 1000


def test_use_never_precedes_creation(client: Any) -> None:
    """Times of use come from the clock of Redis, and are never shown before the token's creation."""
    for ahead in (0, 30, 3_600):
        replica = Replica(client, "pepper", now=lambda ahead=ahead: time.time() + ahead)  # type: ignore[misc]
        name, secret = replica.issue()
        replica.ask(secret)
        token = replica.catalog.find(name)

        assert token.created_at <= token.first_used_at <= token.last_used_at  # type: ignore[operator]


def test_expired_token(real_client: Any) -> None:
    """An expired token is distinguished from an unknown one, and identified."""
    replica = Replica(real_client, "pepper")
    name, secret = replica.issue(ttl_seconds="1")

    until(lambda: replica.ask(secret) is Verdict.EXPIRED_TOKEN)
    decision = replica.decide(secret)

    assert (decision.verdict, decision.identity) == (Verdict.EXPIRED_TOKEN, Identity(name.encode(), b"", b""))
    assert replica.ask("never-was") is Verdict.UNKNOWN_TOKEN


def test_expiry_is_remembered_for_30_days(replica: Replica) -> None:
    """An expiry is remembered for 30 days after the token."""
    name, secret = replica.issue(ttl_seconds="600")
    marker = keys.ended(replica.peppers.digest(secret))
    expires_ms = expiry_ms(replica, replica.record(secret))
    assert expiry_ms(replica, marker) == expires_ms + 30 * DAY_MS

    replica.ask(secret)
    assert expiry_ms(replica, marker) == expires_ms + 30 * DAY_MS
    replica.edit(name, {"ttl_seconds": "900"})
    assert expiry_ms(replica, marker) == expiry_ms(replica, replica.record(secret)) + 30 * DAY_MS
    replica.pass_end(secret)
    assert replica.ask(secret) is Verdict.EXPIRED_TOKEN
    assert replica.client.get(marker).startswith(f"{name}\nexpired\n".encode())
    replica.client.delete(marker)  # simulates its expiry
    assert replica.ask(secret) is Verdict.UNKNOWN_TOKEN


def test_disabled_and_expired(replica: Replica) -> None:
    """A token that was disabled and then expired is reported as expired."""
    name, secret = replica.issue(ttl_seconds="600")
    replica.enable(name, enabled=False)
    replica.pass_end(secret)

    assert replica.ask(secret) is Verdict.EXPIRED_TOKEN


@pytest.mark.parametrize("by", ["registry", "another program", "edit"])
def test_deleted_token_has_not_expired(replica: Replica, by: str) -> None:
    """A token that was deleted, or whose expiry was removed, is unknown rather than expired."""
    name, secret = replica.issue(ttl_seconds="600")
    marker = keys.ended(replica.peppers.digest(secret))
    if by == "registry":
        replica.delete(name)
        assert replica.client.keys("*tokens:*") == [marker.encode()]
    elif by == "edit":
        replica.edit(name, {"ttl_seconds": "0"})
        assert not replica.client.exists(marker)
    replica.client.delete(replica.record(secret))

    assert replica.ask(secret) is Verdict.UNKNOWN_TOKEN


def test_replaced_secret_has_not_expired(replica: Replica) -> None:
    """A replaced secret is unknown after its grace period; the newest one expires with the token."""
    name, old = replica.issue(ttl_seconds="600")
    _, new = replica.rotate(name, "60")
    replica.client.delete(replica.record(old))  # simulates its expiry
    assert (replica.ask(old), replica.ask(new)) == (Verdict.UNKNOWN_TOKEN, Verdict.ALLOWED)

    replica.pass_end(new)
    assert (replica.ask(old), replica.ask(new)) == (Verdict.UNKNOWN_TOKEN, Verdict.EXPIRED_TOKEN)
    assert replica.decide(new).identity.token_id == name.encode()  # type: ignore[union-attr]


def test_grace_beyond_a_shortened_lifetime(replica: Replica) -> None:
    """If a token expires during a grace period, its old secret is reported as expired, too."""
    name, old = replica.issue()
    _, new = replica.rotate(name, "600")
    replica.edit(name, {"ttl_seconds": "60"})
    replica.pass_end(new)

    assert (replica.ask(old), replica.ask(new)) == (Verdict.EXPIRED_TOKEN, Verdict.EXPIRED_TOKEN)


def test_expired_under_a_previous_pepper(single_client: Any) -> None:
    """A token is reported as expired under its old and its new pepper."""
    before = Replica(single_client, "old")
    (_, moved), (_, stayed) = before.issue(ttl_seconds="600"), before.issue(ttl_seconds="600")
    after = Replica(single_client, "new", "old")
    assert after.ask(moved) is Verdict.ALLOWED
    after.pass_end(moved)
    before.pass_end(stayed)

    assert (after.ask(moved), after.ask(stayed)) == (Verdict.EXPIRED_TOKEN, Verdict.EXPIRED_TOKEN)


def test_existing_token_outweighs_an_expiry_marker(single_client: Any) -> None:
    """An expiry remembered under one pepper does not affect a token stored under another."""
    _, secret = Replica(single_client, "old").issue()
    replica = Replica(single_client, "new", "old")
    single_client.set(keys.ended(replica.peppers.digest(secret)), "", px=DAY_MS)

    assert replica.ask(secret) is Verdict.ALLOWED


def test_expiry_set_by_another_program(replica: Replica) -> None:
    """The first use of an older deployment's token records its expiry under its derived id."""
    name, digest = replica.record("old-secret"), replica.peppers.digest("old-secret")
    replica.client.hset(name, "hosts", "a.test")
    replica.client.expire(name, 600)
    assert replica.ask("old-secret") is Verdict.ALLOWED

    replica.pass_end("old-secret")
    decision = replica.decide("old-secret")

    assert decision.verdict is Verdict.EXPIRED_TOKEN
    assert decision.identity.token_id.decode() == inherited_id(digest)  # type: ignore[union-attr]


@pytest.mark.parametrize("junk", ["string", "list", "without expiry", "hash"])
def test_invalid_expiry_marker_allows_nothing(replica: Replica, junk: str) -> None:
    """Invalid data in place of a remembered expiry never changes whether a token is allowed."""
    name, secret = replica.issue(ttl_seconds="600")
    marker = keys.ended(replica.peppers.digest(secret))
    replica.client.delete(marker)
    if junk == "list":
        replica.client.rpush(marker, "x")
    elif junk == "hash":
        replica.client.hset(marker, "hosts", "*")
    else:
        replica.client.set(marker, b"\xff" * 99, px=DAY_MS if junk == "string" else None)

    assert replica.ask(secret) is Verdict.ALLOWED
    replica.edit(name, {"comment": "x"})
    replica.client.delete(replica.record(secret))
    assert replica.ask(secret) in {Verdict.UNKNOWN_TOKEN, Verdict.EXPIRED_TOKEN}
    assert replica.catalog.page(1).tokens == ()


def test_memory_of_an_expiry_marker(real_client: Any) -> None:
    """A remembered expiry takes less than 250 bytes of memory in Redis."""
    replica = Replica(real_client, "pepper")
    _, secret = replica.issue(ttl_seconds="600")

    assert real_client.memory_usage(keys.ended(replica.peppers.digest(secret))) < 250
