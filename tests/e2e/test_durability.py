"""When Redis refuses a write, no change is reported as done."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

from devkit.redis_server import RedisServer, redis_binary, shipped_redis, valkey_binary
from devkit.service import Gunicorn, record_key

pytestmark = pytest.mark.e2e

STATES = {
    "full": ("used memory", "CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0"),
    "no-replicas": ("NOREPLICAS", "CONFIG SET min-replicas-to-write 1", "CONFIG SET min-replicas-to-write 0"),
    "replica": ("read only replica", "REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE"),
    "no-snapshot": ("MISCONF", "", "CONFIG SET save ''"),
}


@pytest.fixture(scope="module", name="server", params=[valkey_binary, redis_binary], ids=["valkey", "redis"])
def _server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    with RedisServer(options=shipped_redis(rights=False), binary=request.param()) as server:
        yield server


@pytest.fixture(scope="module", name="service")
def _service(server: RedisServer) -> Iterator[Gunicorn]:
    with Gunicorn(server.port, web_concurrency=1, redis_deadline_ms=5000) as service:
        yield service


@pytest.fixture(name="state", params=STATES)
def _state(request: pytest.FixtureRequest, server: RedisServer) -> Iterator[Callable[[], str]]:
    """Return a function that makes Redis refuse writes and returns the word in its error."""
    error_word, bad, good = STATES[request.param]

    def enter() -> str:
        if error_word == "MISCONF":
            _break_snapshots(server)
        else:
            server.client().execute_command(*bad.split())
        return error_word

    yield enter
    if error_word == "MISCONF":
        server.client().config_set("save", "")
    else:
        server.client().execute_command(*good.split())


def _break_snapshots(server: RedisServer) -> None:
    """Make the next snapshot fail by putting a directory where the dump file would go."""
    redis = server.client()
    name = redis.config_get("dbfilename")["dbfilename"]
    (server.dir / name).mkdir(exist_ok=True)
    redis.config_set("save", "3600 1000000")
    if redis.info("persistence")["rdb_last_bgsave_status"] != "err":
        redis.bgsave()
    while redis.info("persistence")["rdb_last_bgsave_status"] != "err":
        time.sleep(0.01)


def _id(server: RedisServer, token: str) -> str:
    return str(server.client().hget(record_key(token), "id"))


def _stored(server: RedisServer, token: str) -> tuple[dict[str, str], set[str]]:
    return server.client().hgetall(record_key(token)), set(server.client().keys("tokens:*"))


def _form(verb: str, name: str) -> dict[str, str]:
    token, fields = {"token": name}, {"comment": "new", "hosts": "b.test"}
    return {"create": fields, "edit": token | fields}.get(verb, token)


@pytest.mark.parametrize("verb", ["delete", "disable", "rotate", "edit", "create"])
def test_refused_change(server: RedisServer, service: Gunicorn, state: Callable[[], str], verb: str) -> None:
    """A change that Redis refuses is a 503 that says what was not done, and nothing of it is stored."""
    token = service.issue()
    name = _id(server, token)
    before = _stored(server, token)
    error_word = state()

    page = service.post(f"/{verb}_token", **_form(verb, name))

    if (error_word, verb) == ("used memory", "delete"):
        assert page.status == 303
        assert not server.client().exists(record_key(token))
        return
    assert (page.status, error_word in page.text) == (503, True)
    assert re.search("was not (deleted|disabled|rotated)|Nothing was changed|No token was created", page.text)
    assert _stored(server, token) == before


def test_refused_command(server: RedisServer, service: Gunicorn, state: Callable[[], str]) -> None:
    """A refused change makes the flask command exit with status 5 and a one-line message."""
    token = service.issue()
    name, error_word = _id(server, token), state()
    command = [service.argv[0], "-m", "flask", "--app", "wsgi", "tokens", "disable", name]

    run = subprocess.run(
        command, env=service.env, cwd=service.dir, capture_output=True, text=True, timeout=100, check=False
    )

    assert (run.returncode, run.stdout) == (5, "")
    assert error_word in run.stderr
    assert "Nothing was changed" in run.stderr
    assert server.client().hget(record_key(token), "enabled") is None


def test_form_of_a_refused_token(server: RedisServer, service: Gunicorn) -> None:
    """A form whose token was refused may be resubmitted, even if Redis stored its idempotency key."""
    redis = server.client()
    redis.flushall()
    redis.execute_command("ACL", "SETUSER", "default", "-zadd")
    refused = service.post("/create_token", hosts="a.test", form="a-nonce")
    redis.execute_command("ACL", "SETUSER", "default", "+zadd")

    assert refused.status == 503
    assert not redis.keys("tokens:*")
    assert service.post("/create_token", hosts="a.test", form="a-nonce").status == 200
    assert service.post("/create_token", hosts="a.test", form="a-nonce").status == 409


def test_unconfirmed_write_is_reported() -> None:
    """An unconfirmed write to disk is reported on the next page, in the log and by the flask command."""
    options = [*shipped_redis(rights=False), "--appendfsync", "no"]
    with RedisServer(options=options, binary=valkey_binary()) as server, Gunicorn(server.port) as service:
        token = service.issue()
        answer = service.post("/delete_token", token=token)
        assert answer.status == 303
        assert "has not confirmed that it is on disk" in service.page(answer.headers["location"]).text
        assert "has not confirmed" in service.log
        assert service.auth(token).status == 401
        command = [service.argv[0], "-m", "flask", "--app", "wsgi", "tokens", "create", "a.test"]
        run = subprocess.run(
            command, env=service.env, cwd=service.dir, capture_output=True, text=True, timeout=100, check=True
        )
    assert "has not confirmed" in run.stderr


def test_no_warning_without_a_change() -> None:
    """A visitor who changed nothing sees no warning about an unconfirmed change."""
    options = [*shipped_redis(rights=False), "--appendfsync", "no"]
    with (
        RedisServer(options=options, binary=valkey_binary()) as server,
        Gunicorn(server.port, web_concurrency=1) as service,
    ):
        service.issue()
        assert "has not confirmed" in service.log
        assert "has not confirmed" not in service.page("/").text


@pytest.mark.parametrize(
    ("options", "notice"),
    [
        (["--appendonly", "no"], "Redis has no append-only file"),
        (["--appendonly", "yes", "--appendfsync", "always"], None),
    ],
)
def test_standing_notice(options: list[str], notice: str | None) -> None:
    """Before any change, the first page says whether a crash can bring deleted tokens back."""
    with RedisServer(options=options, binary=valkey_binary()) as server, Gunicorn(server.port) as service:
        page = service.page("/").text
    assert (notice in page) if notice else ("crash" not in page)
