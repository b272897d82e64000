"""/healthz and the gauge say what /auth does: whatever ails Redis, and when that is over."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
import redis

from devkit.cluster import Nodes
from devkit.process import ROOT
from devkit.redis_server import RedisServer, valkey_binary
from devkit.service import Gunicorn
from devkit.waiting import until

pytestmark = pytest.mark.e2e

USER, PASSWORD = "service", "password-of-the-service"
GRANT = f"ACL SETUSER {USER} reset on >{PASSWORD} ~tokens:* ~{{tokens:* ~acl:* ~{{acl:* +@all"
TAKE = (ROOT / "app/store/lua/take.lua").read_text("ascii")
USED = sorted(set(re.findall(r"redis\.call\('(\w+)'", TAKE)))

Fault = Callable[[RedisServer], AbstractContextManager[Any]]


def commands(bad: str, good: str) -> Fault:
    """Return the fault that the command *bad* begins and *good* ends."""

    @contextmanager
    def fault(server: RedisServer) -> Iterator[None]:
        server.client().execute_command(*bad.split())
        try:
            yield
        finally:
            server.client().execute_command(*good.split())

    return fault


def rights(change: str) -> Fault:
    """Return the fault that the service's user lacks a right."""
    return commands(f"ACL SETUSER {USER} {change}", GRANT)


@contextmanager
def hung(server: RedisServer) -> Iterator[None]:
    """Let the server accept connections and say nothing."""
    server.pause()
    yield
    server.resume()


@contextmanager
def gone(server: RedisServer) -> Iterator[None]:
    """Let there be no server."""
    server.kill()
    yield
    server.start()
    server.client().execute_command(*GRANT.split())


@contextmanager
def loading(server: RedisServer) -> Iterator[None]:
    """Let the server read its data all the while."""
    pipe = server.client().pipeline(transaction=False)
    for number in range(40_000):
        pipe.set(f"ballast:{number}", "x" * 100)
    pipe.execute()
    server.flush()
    server.kill()
    usual = server.argv
    server.argv = [*usual, "--key-load-delay", "500"]
    with ThreadPoolExecutor(1) as pool:
        starting = pool.submit(server.start)
        with redis.Redis(port=server.port, protocol=2) as client:
            until(lambda: is_loading(client))
            yield
            client.config_set("key-load-delay", 0)
        starting.result()
    server.argv = usual
    server.client().execute_command(*GRANT.split())


def is_loading(client: Any) -> bool:
    """Tell whether a server answers and reads its data."""
    try:
        return bool(client.info("persistence")["loading"])
    except redis.ConnectionError:
        return False


@contextmanager
def failing_snapshots(server: RedisServer) -> Iterator[None]:
    """Let snapshots fail, whereupon the server takes no writes."""
    place = server.dir / "dump.rdb"
    place.mkdir()  # which no file can replace
    server.client().config_set("save", "3600 1000000")
    snapshot(server, "err")
    yield
    place.rmdir()
    snapshot(server, "ok")
    server.client().config_set("save", "")


def snapshot(server: RedisServer, outcome: str) -> None:
    """Make a snapshot that ends so."""
    server.client().bgsave()
    until(lambda: server.client().info("persistence")["rdb_last_bgsave_status"] == outcome)


@contextmanager
def busy(server: RedisServer) -> Iterator[None]:
    """Let somebody's script run for ever."""
    server.client().config_set("lua-time-limit", 50)
    with redis.Redis(port=server.port, protocol=2) as other:
        connection = other.connection_pool.get_connection()
        connection.send_command("EVAL", "while true do end", 0)
        yield
        until(lambda: is_killed(server))
        connection.disconnect()


def is_killed(server: RedisServer) -> bool:
    """Kill the running script; it can be once it has run too long."""
    try:
        return bool(server.client().script_kill())
    except redis.ResponseError:
        return False


@contextmanager
def other_password(server: RedisServer) -> Iterator[None]:
    """Let the service have a password that is none any more, and no connection that it opened before."""
    server.client().execute_command(*f"ACL SETUSER {USER} resetpass >another".split())
    server.client().client_kill_filter(_type="normal", skipme=True)
    yield
    server.client().execute_command(*GRANT.split())


FAULTS: dict[str, Fault] = {
    "scripts forbidden": rights("-evalsha -eval"),
    "keys forbidden": rights("resetkeys ~acl:*"),
    "some keys forbidden": rights("resetkeys ~tokens:* ~acl:*"),
    "writes forbidden": rights("resetkeys %R~tokens:* %R~{tokens:* ~acl:*"),
    "user gone": commands(f"ACL DELUSER {USER}", GRANT),
    "replica": commands("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE"),
    "full": commands("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0"),
    "too few replicas": commands("CONFIG SET min-replicas-to-write 1", "CONFIG SET min-replicas-to-write 0"),
    "writes postponed": commands("CLIENT PAUSE 100000 WRITE", "CLIENT UNPAUSE"),
    "all postponed": commands("CLIENT PAUSE 3000 ALL", "PING"),
    "password": other_password,
    "hung": hung,
    "gone": gone,
    "loading": loading,
    "snapshots fail": failing_snapshots,
    "busy": busy,
}


@pytest.fixture(scope="module", name="server", params=["redis", "valkey"])
def _server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    with RedisServer(aof=True, binary=valkey_binary() if request.param == "valkey" else "") as server:
        server.client().execute_command(*GRANT.split())
        yield server


@pytest.fixture(scope="module", name="service")
def _service(server: RedisServer) -> Iterator[Gunicorn]:
    login = {"redis_username": USER, "redis_password": PASSWORD}
    with Gunicorn(server.port, web_concurrency=1, redis_deadline_ms=250, **login) as service:
        yield service


@pytest.fixture(scope="module", name="token")
def _token(service: Gunicorn) -> str:
    return service.issue("a.test")


def said(service: Gunicorn) -> tuple[int, int]:
    """Return the status of /healthz, and of what the gauge means."""
    is_up = "acl_auth_redis_up 1.0" in service.page("/metrics").text
    return service.page("/healthz").status, 200 if is_up else 503


@pytest.mark.parametrize("fault", FAULTS)
def test_truth(server: RedisServer, service: Gunicorn, token: str, fault: str) -> None:
    """While no decision can be made, both say so; when one can, they say that; and nothing is left behind."""
    until(lambda: (service.auth(token).status, *said(service)) == (200, 200, 200))
    with FAULTS[fault](server):
        until(lambda: said(service) == (503, 503))
        assert service.auth(token).status == 503
    until(lambda: (service.auth(token).status, *said(service)) == (200, 200, 200))
    assert server.client().keys("*probe*") == []


@pytest.mark.parametrize("name", USED)
def test_each_right(server: RedisServer, service: Gunicorn, name: str) -> None:
    """A command that a decision may need, once an hour or when a limit is reached, is missed at once."""
    until(lambda: said(service) == (200, 200))
    with rights(f"-{name}")(server):
        until(lambda: said(service) == (503, 503))
    until(lambda: said(service) == (200, 200))


@pytest.mark.parametrize("harmless", ["-info", "-eval", "-ping", "resetpass >another"])
def test_what_no_decision_needs(server: RedisServer, service: Gunicorn, token: str, harmless: str) -> None:
    """What no decision needs any more is not missed: a connection stays signed in, a script stays known."""
    until(lambda: (service.auth(token).status, *said(service)) == (200, 200, 200))
    with rights(harmless)(server):
        until(lambda: count_looks(server, service) >= 2)
        until(lambda: (service.auth(token).status, *said(service)) == (200, 200, 200))


def count_looks(server: RedisServer, service: Gunicorn) -> int:
    """Ask for half a second or so, and return how many scripts Redis ran for that."""
    calls = server.client().info("commandstats")["cmdstat_evalsha"]["calls"]
    began = time.monotonic()
    while time.monotonic() < began + 0.7:
        service.page("/healthz")
    return int(server.client().info("commandstats")["cmdstat_evalsha"]["calls"]) - int(calls)


def test_flood(server: RedisServer, service: Gunicorn) -> None:
    """However many ask, Redis is asked a few times a second."""
    calls = server.client().info("commandstats")["cmdstat_evalsha"]["calls"]
    began = time.monotonic()
    with ThreadPoolExecutor(16) as pool:
        assert 200 in set(pool.map(lambda _: service.page("/healthz").status, range(1000)))
    took_s = time.monotonic() - began

    asked = server.client().info("commandstats")["cmdstat_evalsha"]["calls"] - calls
    assert asked <= 2 * (took_s / 0.3 + 2)


def test_cluster() -> None:
    """In a Cluster each primary counts: one that refuses is told of, whichever it is."""
    with (
        Nodes() as nodes,
        Gunicorn(None, redis_url=nodes.url, web_concurrency=1, redis_deadline_ms=250) as service,
    ):
        until(lambda: said(service) == (200, 200))
        for node in nodes.primaries:
            with commands("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0")(node):
                until(lambda: said(service) == (503, 503))
            until(lambda: said(service) == (200, 200))
            with commands("CONFIG SET cluster-require-full-coverage no", "PING")(node), hung(node):
                until(lambda: said(service) == (503, 503))
            until(lambda: said(service) == (200, 200))
