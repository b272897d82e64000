"""What a Redis crash does to an acknowledged change, and what the service reports about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from secrets import token_hex
from typing import Any

import pytest
import redis

from app.core.durability import Durability
from app.core.errors import StoreUnavailableError, UnknownOutcomeError
from app.core.fields import Draft, Leave
from app.core.verdicts import Verdict
from app.store import keys
from app.store.changes import RedisChanges
from app.store.transport.connection import connect
from devkit.builders import ACTOR, make_settings, make_token
from devkit.redis_server import RedisServer, redis_binary, shipped_redis, valkey_binary
from devkit.replica import Replica, make_changes

ROUNDS = 10


TOKEN = make_token()


def connected(server: RedisServer, deadline_ms: int = 5000) -> Any:
    """Return a client with a deadline long enough for tests."""
    return connect(make_settings(REDIS_PORT=server.port, REDIS_DEADLINE_MS=deadline_ms), concurrent=False)


@pytest.fixture(scope="module", name="valkey")
def _valkey() -> Iterator[RedisServer]:
    with RedisServer(options=shipped_redis(rights=False), binary=valkey_binary()) as server:
        yield server


@pytest.fixture
def impatient(valkey: RedisServer) -> Iterator[RedisChanges]:
    """Return a store with one token and a deadline shorter than a slow disk needs."""
    valkey.client().flushall()
    client = connected(valkey, 1400)
    store = make_changes(client)
    store.add(ACTOR, TOKEN)
    yield store
    client.connection_pool.disconnect()


@pytest.fixture
def store(valkey: RedisServer) -> Iterator[RedisChanges]:
    """Return a store on a server that supports WAITAOF."""
    valkey.client().flushall()
    client = connected(valkey)
    yield make_changes(client)
    client.connection_pool.disconnect()


SYNC_FIRST = ["--appendonly", "yes", "--save", "", "--appendfsync", "always"]


@pytest.mark.parametrize(
    ("binary", "options"),
    [(valkey_binary, shipped_redis()), (redis_binary, SYNC_FIRST)],
    ids=["shipped", "installed"],
)
def test_acknowledged_changes_survive_a_crash(binary: Callable[[], str], options: list[str]) -> None:
    """A change confirmed right before SIGKILL survives, on servers with and without WAITAOF."""
    with RedisServer(options=options, binary=binary()) as server:
        _acknowledged_changes_survive_kills(server)


def _acknowledged_changes_survive_kills(server: RedisServer) -> None:
    replica = Replica(connected(server), "pepper")
    for _ in range(ROUNDS):
        issued = [replica.issue() for _ in range(4)]
        (deleted, a), (disabled, b), (rotated, c), (_, kept) = issued
        replica.delete(deleted)
        replica.enable(disabled, enabled=False)
        _, new = replica.rotate(rotated, "0")
        server.kill()
        server.start()
        verdicts = [replica.ask(secret) for secret in (a, b, c, new, kept)]
        assert verdicts == [
            Verdict.UNKNOWN_TOKEN,
            Verdict.DISABLED_TOKEN,
            Verdict.UNKNOWN_TOKEN,
            Verdict.ALLOWED,
            Verdict.ALLOWED,
        ]
    replica.client.connection_pool.disconnect()


FAR = 4_000_000_000
CHANGES: dict[str, Callable[[RedisChanges], Any]] = {
    "add": lambda store: store.add(ACTOR, make_token("cd" * 32)),
    "edit": lambda store: store.edit(ACTOR, TOKEN, Draft(make_token(email="a@b.example"), Leave.LEAVE), 1),
    "enable": lambda store: store.enable(ACTOR, TOKEN, enabled=False),
    "rotate": lambda store: store.rotate(ACTOR, TOKEN, "cd" * 32, 0),
    "remove": lambda store: store.remove(ACTOR, TOKEN),
    "retire": lambda store: [
        store.rotate(ACTOR, TOKEN, "cd" * 32, FAR),
        store.retire(ACTOR, TOKEN, TOKEN.digest),
    ][1],
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_every_change_is_confirmed(store: RedisChanges, change: Callable[[RedisChanges], Any]) -> None:
    """Every kind of change is reported as confirmed once."""
    store.add(ACTOR, TOKEN)
    assert change(store) is Durability.CONFIRMED


@pytest.mark.parametrize("name", sorted(CHANGES.keys() - {"add"}))
def test_call_that_changes_nothing(store: RedisChanges, name: str) -> None:
    """A call that changed nothing reports no durability."""
    assert CHANGES[name](store) is None


def test_slow_disk(valkey: RedisServer, store: RedisChanges) -> None:
    """A change that the disk does not confirm in time is done, and reported as unconfirmed."""
    valkey.client().config_set("appendfsync", "no")
    try:
        assert store.add(ACTOR, TOKEN) is Durability.UNCONFIRMED
    finally:
        valkey.client().config_set("appendfsync", "everysec")
    assert valkey.client().exists(keys.record(TOKEN.digest))


@pytest.fixture(params=[valkey_binary, redis_binary], ids=["valkey", "installed"])
def without_waitaof(request: Any) -> Iterator[RedisServer]:
    """Return a server that syncs before it replies, but without a usable WAITAOF."""
    with RedisServer(options=SYNC_FIRST, binary=request.param()) as server:
        with suppress(redis.ResponseError):  # on servers without that command
            server.client().execute_command("ACL", "SETUSER", "default", "-waitaof")
        yield server


def reported_by(server: RedisServer) -> set[Durability | None]:
    """Return what is reported for a change and for the server as a whole."""
    client = connected(server)
    store = make_changes(client)
    reported = {store.add(ACTOR, make_token(token_hex(32))), store.durability()}
    client.connection_pool.disconnect()
    return reported


def test_sync_before_the_reply(without_waitaof: RedisServer) -> None:
    """With ``appendfsync always``, an acknowledged change counts as confirmed even without WAITAOF."""
    assert reported_by(without_waitaof) == {Durability.CONFIRMED}


@pytest.mark.parametrize(
    "command",
    [
        "CONFIG SET appendfsync everysec",
        "CONFIG SET appendfsync no",
        "CONFIG SET no-appendfsync-on-rewrite yes",
        "ACL SETUSER default -config",
        "ACL SETUSER default -config|get",
        "ACL SETUSER default -info",
    ],
)
def test_unknown_durability(without_waitaof: RedisServer, command: str) -> None:
    """A server that does not verifiably sync before it replies is reported as unknown."""
    without_waitaof.client().execute_command(*command.split())
    assert reported_by(without_waitaof) == {Durability.UNTOLD}


def test_first_append_only_file(without_waitaof: RedisServer) -> None:
    """Changes are unconfirmed while the first append-only file is still being written."""
    client = without_waitaof.client()
    client.config_set("appendonly", "no")
    client.config_set("rdb-key-save-delay", 60_000_000)
    client.set("a key", "that takes long to write")
    client.config_set("appendonly", "yes")
    assert reported_by(without_waitaof) == {Durability.UNCONFIRMED}
    client.config_set("appendonly", "no")
    assert reported_by(without_waitaof) == {Durability.NO_FILE}


@pytest.mark.parametrize("binary", [valkey_binary, redis_binary], ids=["valkey", "installed"])
def test_no_append_only_file(binary: Callable[[], str]) -> None:
    """A server without an append-only file is reported as such, and logged once."""
    with RedisServer(binary=binary()) as server:
        client = connected(server)
        store = make_changes(client)
        assert [store.add(ACTOR, TOKEN), store.remove(ACTOR, TOKEN), store.durability()] == [
            Durability.NO_FILE
        ] * 3
        server.client().config_set("appendonly", "yes")
        assert store.durability() is not Durability.NO_FILE
        client.connection_pool.disconnect()


def test_no_reply_to_a_change(valkey: RedisServer, impatient: RedisChanges) -> None:
    """If Redis stops answering during a change, the outcome is reported as unknown."""
    valkey.pause()
    try:
        with pytest.raises(UnknownOutcomeError):
            impatient.enable(ACTOR, TOKEN, enabled=False)
    finally:
        valkey.resume()


def test_no_confirmation_in_time(valkey: RedisServer, impatient: RedisChanges) -> None:
    """A change that Redis acknowledged is done, even if its confirmation does not arrive in time."""
    valkey.client().config_set("appendfsync", "no")
    try:
        assert impatient.remove(ACTOR, TOKEN) is Durability.UNCONFIRMED
    finally:
        valkey.client().config_set("appendfsync", "everysec")
    assert valkey.client().zcard(keys.INDEX) == 0


def test_refusal(valkey: RedisServer, store: RedisChanges) -> None:
    """A change that Redis refuses is reported as not done."""
    store.add(ACTOR, TOKEN)
    valkey.client().config_set("min-replicas-to-write", 1)
    try:
        for change in CHANGES.values():
            with pytest.raises(StoreUnavailableError, match="NOREPLICAS") as refused:
                change(store)
            assert not isinstance(refused.value, UnknownOutcomeError)
    finally:
        valkey.client().config_set("min-replicas-to-write", 0)
    assert valkey.client().hget(keys.record(TOKEN.digest), "enabled") is None
