"""The commands that Redis receives, the keys that it stores, and what survives a crash."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from app.store import keys
from devkit.http import Connection, bearer, forwarded
from devkit.load import hammer
from devkit.redis_server import RedisServer
from devkit.service import Gunicorn, record_key
from devkit.waiting import until

pytestmark = pytest.mark.e2e


def test_scripts_forgotten(service: Gunicorn, token: str, redis: Any) -> None:
    """Requests are answered even while Redis keeps losing its script cache."""
    redis.hset(record_key(token), mapping={"rate_limit_max": 500, "rate_limit_window_sec": 60})
    done = threading.Event()

    def flush() -> None:
        while not done.wait(0.005):
            redis.script_flush()

    with ThreadPoolExecutor(1) as pool:
        flushing = pool.submit(flush)
        counts = hammer([service.port], [*forwarded("a.test"), *bearer(token)], clients=20, each=50)
        done.set()
        flushing.result()

    assert counts == {200: 500, 429: 500}


def test_crash_with_aof() -> None:
    """After SIGKILL of a Redis with AOF, valid tokens work and deleted tokens stay deleted."""
    with RedisServer(aof=True) as server, Gunicorn(server.port, web_concurrency=1) as service:
        kept, deleted = service.issue(), service.issue(ttl_seconds="3600")
        assert service.post("/delete_token", token=deleted).status == 303
        server.flush()
        server.kill()
        server.start()

        assert [service.auth(token).status for token in (kept, deleted)] == [200, 401]


@pytest.fixture(name="first_page")
def _first_page(redis: Any) -> None:
    """Delete all tokens, so that the table has one page."""
    redis.delete(keys.INDEX, *redis.keys("tokens:*"))


@pytest.mark.usefixtures("first_page")
@pytest.mark.parametrize("by", ["id", "sha256", "text"])
def test_older_record(service: Gunicorn, redis: Any, by: str) -> None:
    """A record written by an older deployment opens its hosts, is listed, and can be deleted."""
    token = f"legacy-{secrets.token_hex(8)}"
    key = record_key(token)
    redis.hset(key, mapping={"hosts": "Example.com, api.example.com", "comment": f"of {token[:12]}"})
    hosts = ("example.com", "api.example.com", "www.example.com")
    assert [service.auth(token, host).status for host in hosts] == [200, 200, 403]
    token_id = service.auth(token, "example.com").headers["x-auth-token-id"]
    assert f"of {token[:12]}" in service.page("/").text

    name = {"id": token_id or "0" + key[7:22], "sha256": key.removeprefix("tokens:"), "text": token}[by]
    assert service.post("/delete_token", token=name).status == 303
    assert service.auth(token, "example.com").status == 401
    assert not redis.exists(key)
    assert f"of {token[:12]}" not in service.page("/").text


@pytest.mark.usefixtures("first_page")
def test_older_record_has_an_id(service: Gunicorn, redis: Any) -> None:
    """A record without a stored id gets one, which is the same in the table and in X-Auth-Token-Id."""
    token = f"legacy-{secrets.token_hex(8)}"
    redis.hset(record_key(token), mapping={"hosts": "example.com"})
    token_id = service.auth(token, "example.com").headers["x-auth-token-id"]

    assert token_id
    assert token_id in service.page("/").text


def test_unknown_tokens(service: Gunicorn, redis: Any) -> None:
    """Requests with unknown tokens leave no keys in Redis."""
    before = set(redis.keys())

    def guess(_: int) -> set[int]:
        with Connection(service.port) as connection:
            guesses = (bearer(secrets.token_urlsafe(24)) for _ in range(200))
            return {connection.call("/auth", [*forwarded("a.test"), *g]).status for g in guesses}

    with ThreadPoolExecutor(10) as pool:
        assert set().union(*pool.map(guess, range(10))) == {401}
    assert set(redis.keys()) <= before


def _commands(redis: Any, ask: Callable[[], object]) -> list[str]:
    """Return the commands that clients, not scripts, send to Redis while *ask* runs."""
    commands = []
    with redis.monitor() as monitor:
        ask()
        redis.echo("the end")
        while (command := monitor.next_command())["command"] != "ECHO the end":
            commands += [command["command"].split()[0]] if command["client_type"] != "lua" else []
    return commands


def test_one_round_trip(service: Gunicorn, token: str, redis: Any) -> None:
    """A decision, allowed or refused, is one EVALSHA."""
    _warm(service, token)
    for asking in ((token, "a.test"), (token, "b.test"), ("unknown", "a.test"), (token, "no host")):
        assert _commands(redis, partial(service.auth, *asking)) == ["EVALSHA"]


def test_malformed_tokens_do_not_reach_redis(service: Gunicorn, token: str, redis: Any) -> None:
    """A credential that cannot be a token is refused without a Redis command."""
    mistyped = token[:-1] + ("a" if token[-1] != "a" else "b")
    for wrong in (None, mistyped, "acl_", "acl_short", "tök€n".encode().decode("latin-1"), "a,b", "a" * 513):
        assert _commands(redis, partial(service.auth, wrong)) == []


def test_liveness_does_not_reach_redis(service: Gunicorn, redis: Any) -> None:
    """/livez sends no Redis command."""
    assert _commands(redis, partial(service.page, "/livez")) == []


def test_expiry(service: Gunicorn, redis: Any) -> None:
    """The Redis key's TTL is the token's lifetime, and an expired token is refused."""
    token = service.issue(ttl_seconds="3600")
    key = record_key(token)
    assert 0 < redis.pttl(key) <= 3_600_000
    assert service.auth(token).status == 200
    redis.pexpire(key, 1)
    until(lambda: not redis.exists(key))
    assert service.auth(token).status == 401


def test_deletion(service: Gunicorn, token: str, redis: Any) -> None:
    """After a confirmed deletion, no worker allows the token and only its expiry marker remains."""
    redis.hset(record_key(token), "rate_limit_window_sec", 60)
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(service.auth, token) for _ in range(200)]
        assert service.post("/delete_token", token=token).status == 303
        assert {service.auth(token).status for _ in range(20)} == {401}
        assert {answer.result().status for answer in answers} <= {200, 401}
    assert redis.keys(f"*{record_key(token)}*") == [f"{{{record_key(token)}}}:ended"]


def _warm(service: Gunicorn, token: str) -> None:
    """Make every worker open its connections and load the script."""
    hammer([service.port], [*forwarded("a.test"), *bearer(token)], clients=16, each=8)
