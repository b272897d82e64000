"""What a crash of Redis does to a change that was acknowledged, and what is said of it before."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
import redis

from app.core.durability import Durability
from app.core.errors import StoreUnavailableError, UnknownOutcomeError
from app.core.fields import Leave
from app.core.gate import Verdict
from app.store import keys
from app.store.pepper_check import Canary
from app.store.tokens import RedisTokens
from app.store.transport.connection import connect
from devkit.builders import make_settings, make_token
from devkit.redis_server import RedisServer, redis_binary, shipped_redis, valkey_binary
from devkit.replica import Replica

ROUNDS = 10


TOKEN = make_token()


def patient(server: RedisServer, deadline_ms: int = 5000) -> Any:
    """Return a client like that of the pages."""
    return connect(make_settings(REDIS_PORT=server.port, REDIS_DEADLINE_MS=deadline_ms))


@pytest.fixture(scope="module", name="valkey")
def _valkey() -> Iterator[RedisServer]:
    with RedisServer(options=shipped_redis(rights=False), binary=valkey_binary()) as server:
        yield server


@pytest.fixture
def said() -> list[Durability]:
    """Return where what is reported is kept."""
    return []


@pytest.fixture
def hasty(valkey: RedisServer, said: list[Durability]) -> Iterator[RedisTokens]:
    """Return a store that has less patience than the disk needs, with one token."""
    valkey.client().flushall()
    client = patient(valkey, 1400)
    made = RedisTokens(client, Canary(client, ["f"]), 2, said.append)
    made.add(TOKEN)
    yield made
    client.connection_pool.disconnect()


@pytest.fixture
def store(valkey: RedisServer, said: list[Durability]) -> Iterator[RedisTokens]:
    """Return a store on a server that knows WAITAOF."""
    valkey.client().flushall()
    client = patient(valkey)
    yield RedisTokens(client, Canary(client, ["f"]), 2, said.append)
    client.connection_pool.disconnect()


SYNC_FIRST = ["--appendonly", "yes", "--save", "", "--appendfsync", "always"]


@pytest.mark.parametrize(
    ("binary", "options"),
    [(valkey_binary, shipped_redis()), (redis_binary, SYNC_FIRST)],
    ids=["shipped", "installed"],
)
def test_nothing_comes_back(binary: Callable[[], str], options: list[str]) -> None:
    """Of changes that were confirmed right before kill -9 none is undone, on a new server or an old one."""
    with RedisServer(options=options, binary=binary()) as server:
        _nothing_comes_back(server)


def _nothing_comes_back(server: RedisServer) -> None:
    replica = Replica(patient(server), "pepper")
    for _ in range(ROUNDS):
        made = [replica.issue() for _ in range(4)]
        (deleted, a), (disabled, b), (rotated, c), (_, kept) = made
        replica.registry.delete(deleted)
        replica.registry.enable(disabled, enabled=False)
        _, new = replica.registry.rotate(rotated, "0")
        server.kill()
        server.start()
        verdicts = [replica.ask(text) for text in (a, b, c, new, kept)]
        assert verdicts == [
            Verdict.UNKNOWN,
            Verdict.DISABLED,
            Verdict.UNKNOWN,
            Verdict.ALLOWED,
            Verdict.ALLOWED,
        ]
    replica.client.connection_pool.disconnect()


CHANGES: dict[str, Callable[[RedisTokens], Any]] = {
    "add": lambda store: store.add(make_token("cd" * 32)),
    "edit": lambda store: store.edit(TOKEN, make_token(email="a@b.example"), Leave.LEAVE, 1),
    "enable": lambda store: store.enable(TOKEN, enabled=False),
    "rotate": lambda store: store.rotate(TOKEN, "cd" * 32, 0),
    "remove": lambda store: store.remove(TOKEN),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_every_change_is_confirmed(
    store: RedisTokens, said: list[Durability], change: Callable[[RedisTokens], Any]
) -> None:
    """Whatever changes a token says once that it is on disk."""
    store.add(TOKEN)
    said.clear()
    change(store)
    assert said == [Durability.CONFIRMED]


def test_no_change(store: RedisTokens, said: list[Durability]) -> None:
    """What changed nothing says nothing."""
    assert not store.remove(TOKEN)
    assert said == []


def test_slow_disk(valkey: RedisServer, store: RedisTokens, said: list[Durability], caplog: Any) -> None:
    """A change that the disk did not confirm in time is done, and said to be unconfirmed."""
    valkey.client().config_set("appendfsync", "no")
    try:
        store.add(TOKEN)
    finally:
        valkey.client().config_set("appendfsync", "everysec")
    assert said == [Durability.UNCONFIRMED]
    assert "not confirmed" in caplog.text
    assert store.get(TOKEN.digest)


@pytest.fixture(params=[valkey_binary, redis_binary], ids=["valkey", "installed"])
def mute(request: Any) -> Iterator[RedisServer]:
    """Return a server that syncs before it answers, and can't or won't be asked whether it did."""
    with RedisServer(options=SYNC_FIRST, binary=request.param()) as server:
        with suppress(redis.ResponseError):  # it knows no such command
            server.client().execute_command("ACL", "SETUSER", "default", "-waitaof")
        yield server


def told_by(server: RedisServer) -> set[Durability]:
    """Return what is said of a change, and of the server when it is looked at."""
    said: list[Durability] = []
    client = patient(server)
    store = RedisTokens(client, Canary(client, ["f"]), 2, said.append)
    store.add(make_token())
    said.append(store.durability())
    client.connection_pool.disconnect()
    return set(said)


def test_synced_before_the_answer(mute: RedisServer) -> None:
    """With appendfsync always what was answered is on disk, whether or not the server can say so."""
    assert told_by(mute) == {Durability.CONFIRMED}


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
def test_untold(mute: RedisServer, command: str) -> None:
    """A server that does not sync before it answers, or does not show that it does, is believed nothing."""
    mute.client().execute_command(*command.split())
    assert told_by(mute) == {Durability.UNTOLD}


def test_first_file(mute: RedisServer) -> None:
    """While the first append-only file is written, a change is not on disk, however the server syncs."""
    client = mute.client()
    client.config_set("appendonly", "no")
    client.config_set("rdb-key-save-delay", 60_000_000)
    client.set("a key", "that takes long to write")
    client.config_set("appendonly", "yes")
    assert told_by(mute) == {Durability.UNCONFIRMED}
    client.config_set("appendonly", "no")
    assert told_by(mute) == {Durability.NO_FILE}


@pytest.mark.parametrize("binary", [valkey_binary, redis_binary], ids=["valkey", "installed"])
def test_no_file(binary: Callable[[], str], said: list[Durability], caplog: Any) -> None:
    """A server without an append-only file is told apart, new or old, and the log says so once."""
    caplog.set_level(logging.WARNING)
    with RedisServer(binary=binary()) as server:
        client = patient(server)
        store = RedisTokens(client, Canary(client, ["f"]), 2, said.append)
        store.add(TOKEN)
        store.remove(TOKEN)
        assert said == [store.durability()] * 2 == [Durability.NO_FILE] * 2
        server.client().config_set("appendonly", "yes")
        assert store.durability() is not Durability.NO_FILE
        client.connection_pool.disconnect()
    assert caplog.text.count("appendonly yes") == 1


def test_silence_before_the_answer(valkey: RedisServer, hasty: RedisTokens) -> None:
    """A change that Redis fell silent over may be done or not, and neither is claimed."""
    valkey.pause()
    try:
        with pytest.raises(UnknownOutcomeError):
            hasty.enable(TOKEN, enabled=False)
    finally:
        valkey.resume()


def test_silence_after_the_answer(valkey: RedisServer, hasty: RedisTokens, said: list[Durability]) -> None:
    """A change that Redis has answered is done, though its word about the disk did not come in time."""
    valkey.client().config_set("appendfsync", "no")
    try:
        assert hasty.remove(TOKEN)
    finally:
        valkey.client().config_set("appendfsync", "everysec")
    assert said[-1] is Durability.UNCONFIRMED
    assert valkey.client().zcard(keys.INDEX) == 0


def test_refusal(valkey: RedisServer, store: RedisTokens) -> None:
    """A change that Redis refused is not done, and that is known."""
    store.add(TOKEN)
    valkey.client().config_set("min-replicas-to-write", 1)
    try:
        for change in CHANGES.values():
            with pytest.raises(StoreUnavailableError, match="NOREPLICAS") as refused:
                change(store)
            assert not isinstance(refused.value, UnknownOutcomeError)
    finally:
        valkey.client().config_set("min-replicas-to-write", 0)
    assert valkey.client().hget(keys.record(TOKEN.digest), "enabled") is None
