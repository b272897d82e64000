"""/healthz and the redis_up gauge agree with /auth during and after every kind of Redis failure."""

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
    """Return a fault that starts with the Redis command *bad* and ends with *good*."""

    @contextmanager
    def fault(server: RedisServer) -> Iterator[None]:
        server.client().execute_command(*bad.split())
        try:
            yield
        finally:
            server.client().execute_command(*good.split())

    return fault


def rights(change: str) -> Fault:
    """Return a fault in which the service's Redis user has its ACL rights reduced by *change*."""
    return commands(f"ACL SETUSER {USER} {change}", GRANT)


@contextmanager
def hung(server: RedisServer) -> Iterator[None]:
    """Suspend the server, so that it accepts connections and does not answer."""
    server.pause()
    yield
    server.resume()


@contextmanager
def down(server: RedisServer) -> Iterator[None]:
    """Kill the server, and start it again afterwards."""
    server.kill()
    yield
    server.start()
    server.client().execute_command(*GRANT.split())


@contextmanager
def loading(server: RedisServer) -> Iterator[None]:
    """Restart the server so that it is loading its data set during the fault."""
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
    """Return whether the server answers and is loading its data set."""
    try:
        return bool(client.info("persistence")["loading"])
    except redis.ConnectionError:
        return False


@contextmanager
def failing_snapshots(server: RedisServer) -> Iterator[None]:
    """Make snapshots fail, so that the server refuses writes."""
    dump_path = server.dir / "dump.rdb"
    dump_path.mkdir()  # a directory, which no file can replace
    server.client().config_set("save", "3600 1000000")
    snapshot(server, "err")
    yield
    dump_path.rmdir()
    snapshot(server, "ok")
    server.client().config_set("save", "")


def snapshot(server: RedisServer, outcome: str) -> None:
    """Take a snapshot that ends with the status *outcome*."""
    server.client().bgsave()
    until(lambda: server.client().info("persistence")["rdb_last_bgsave_status"] == outcome)


@contextmanager
def busy(server: RedisServer) -> Iterator[None]:
    """Keep the server busy with a script that never ends."""
    server.client().config_set("lua-time-limit", 50)
    with redis.Redis(port=server.port, protocol=2) as client:
        connection = client.connection_pool.get_connection()
        connection.send_command("EVAL", "while true do end", 0)
        yield
        until(lambda: is_killed(server))
        connection.disconnect()


def is_killed(server: RedisServer) -> bool:
    """Try to kill the running script, which works only after lua-time-limit, and return whether it did."""
    try:
        return bool(server.client().script_kill())
    except redis.ResponseError:
        return False


@contextmanager
def other_password(server: RedisServer) -> Iterator[None]:
    """Change the password of the service's user and close its connections."""
    server.client().execute_command(*f"ACL SETUSER {USER} resetpass >another".split())
    server.client().client_kill_filter(_type="normal", skipme=True)
    yield
    server.client().execute_command(*GRANT.split())


FAULTS: dict[str, Fault] = {
    "scripts forbidden": rights("-evalsha -eval"),
    "keys forbidden": rights("resetkeys ~acl:*"),
    "some keys forbidden": rights("resetkeys ~tokens:* ~acl:*"),
    "writes forbidden": rights("resetkeys %R~tokens:* %R~{tokens:* ~acl:*"),
    "user deleted": commands(f"ACL DELUSER {USER}", GRANT),
    "replica": commands("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE"),
    "full": commands("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0"),
    "too few replicas": commands("CONFIG SET min-replicas-to-write 1", "CONFIG SET min-replicas-to-write 0"),
    "writes postponed": commands("CLIENT PAUSE 100000 WRITE", "CLIENT UNPAUSE"),
    "all postponed": commands("CLIENT PAUSE 3000 ALL", "PING"),
    "password": other_password,
    "hung": hung,
    "down": down,
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


def health(service: Gunicorn) -> tuple[int, int]:
    """Return the status of /healthz and the status that the gauge implies."""
    is_up = "acl_auth_redis_up 1.0" in service.page("/metrics").text
    return service.page("/healthz").status, 200 if is_up else 503


@pytest.mark.parametrize("fault", FAULTS)
def test_health_agrees_with_auth(server: RedisServer, service: Gunicorn, token: str, fault: str) -> None:
    """/healthz and the gauge report each fault while it lasts, recover with /auth and leave no keys."""
    until(lambda: (service.auth(token).status, *health(service)) == (200, 200, 200))
    with FAULTS[fault](server):
        until(lambda: health(service) == (503, 503))
        assert service.auth(token).status == 503
    until(lambda: (service.auth(token).status, *health(service)) == (200, 200, 200))
    assert server.client().keys("*probe*") == []


@pytest.mark.parametrize("name", USED)
def test_missing_right_is_reported(server: RedisServer, service: Gunicorn, name: str) -> None:
    """A missing right to any command of take.lua is reported at once, even if it is rarely used."""
    until(lambda: health(service) == (200, 200))
    with rights(f"-{name}")(server):
        until(lambda: health(service) == (503, 503))
    until(lambda: health(service) == (200, 200))


@pytest.mark.parametrize("harmless", ["-info", "-eval", "-ping", "resetpass >another"])
def test_unneeded_right_is_not_reported(
    server: RedisServer, service: Gunicorn, token: str, harmless: str
) -> None:
    """A missing right that established connections and loaded scripts do not need is not reported."""
    until(lambda: (service.auth(token).status, *health(service)) == (200, 200, 200))
    with rights(harmless)(server):
        until(lambda: count_checks(server, service) >= 2)
        until(lambda: (service.auth(token).status, *health(service)) == (200, 200, 200))


def count_checks(server: RedisServer, service: Gunicorn) -> int:
    """Request /healthz for 0.7 seconds, and return how many scripts Redis ran meanwhile."""
    calls = server.client().info("commandstats")["cmdstat_evalsha"]["calls"]
    began = time.monotonic()
    while time.monotonic() < began + 0.7:
        service.page("/healthz")
    return int(server.client().info("commandstats")["cmdstat_evalsha"]["calls"]) - int(calls)


def test_flood(server: RedisServer, service: Gunicorn) -> None:
    """Many health checks lead to only a few Redis calls per second."""
    calls = server.client().info("commandstats")["cmdstat_evalsha"]["calls"]
    began = time.monotonic()
    with ThreadPoolExecutor(16) as pool:
        assert 200 in set(pool.map(lambda _: service.page("/healthz").status, range(1000)))
    took_s = time.monotonic() - began

    checks = server.client().info("commandstats")["cmdstat_evalsha"]["calls"] - calls
    assert checks <= 2 * (took_s / 0.3 + 2)


def test_cluster() -> None:
    """In a cluster, the failure of any one primary is reported."""
    with (
        Nodes() as nodes,
        Gunicorn(None, redis_url=nodes.url, web_concurrency=1, redis_deadline_ms=250) as service,
    ):
        until(lambda: health(service) == (200, 200))
        for node in nodes.primaries:
            with commands("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0")(node):
                until(lambda: health(service) == (503, 503))
            until(lambda: health(service) == (200, 200))
            with commands("CONFIG SET cluster-require-full-coverage no", "PING")(node), hung(node):
                until(lambda: health(service) == (503, 503))
            until(lambda: health(service) == (200, 200))
