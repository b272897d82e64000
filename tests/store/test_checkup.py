"""The facts that ``flask doctor`` gathers about real servers, and the faults that it finds in them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from app.assembly import build_services
from app.core.checkup import findings_of
from app.store import checkup
from app.store.transport.commands import ARGUMENTS
from devkit.builders import ACTOR, make_settings
from devkit.clock import StoppedClock
from devkit.cluster import Nodes
from devkit.ports import free_port
from devkit.redis_server import RedisServer, shipped_redis, valkey_binary
from devkit.sentinels import SERVICE, Sentinel
from devkit.waiting import until

Find = Callable[..., set[str]]
NEEDED = "~tokens:* ~{tokens:* ~acl:* ~{acl:* -@all +@read +@write +@connection +@scripting +@transaction"
OPERATOR = ["--user", "operator", "on", ">x", "~*", "&*", "+@all"]


def found(port: int = 0, **settings: object) -> dict[str, str]:
    """Return what is found wrong with the server at *port*, or elsewhere by *settings*, by id.

    The server of this machine may be too old to confirm changes, which has a test of its own.
    """
    everything = examined(port, **settings)
    return {name: what for name, what in everything.items() if name != "redis-unconfirming"}


def examined(port: int = 0, **settings: object) -> dict[str, str]:
    """Return every finding about a server, by id."""
    place = {"REDIS_PORT": port} if port else {}
    services = build_services(make_settings(REDIS_DEADLINE_MS=5000, **place, **settings))
    return {one.id: one.what for one in findings_of(services.checkup(services.ping))}


@pytest.fixture(scope="module", name="server")
def _server() -> Iterator[RedisServer]:
    """Run Redis as docker-compose.yml does, with an operator who may change it."""
    with RedisServer(options=[*shipped_redis(), *OPERATOR]) as server:
        yield server


@pytest.fixture(name="operator")
def _operator(server: RedisServer) -> Iterator[Any]:
    """Return a client that may do everything; what it changes is undone."""
    with redis.Redis(port=server.port, username="operator", password="x", decode_responses=True) as client:
        before = client.config_get("*")
        yield client
        client.replicaof("NO", "ONE")
        for name in ("min-replicas-to-write", "appendfsync", "maxmemory", "maxmemory-policy", "appendonly"):
            client.config_set(name, before[name])
        client.execute_command(
            "ACL SETUSER default on nopass resetkeys", *f"{NEEDED} -@dangerous +info +time".split()
        )
        client.flushall()


@pytest.mark.parametrize("binary", ["", valkey_binary()], ids=["redis", "valkey"])
def test_what_ships(binary: str) -> None:
    """Nothing is wrong with Redis as it ships, whichever server it is."""
    with RedisServer(options=shipped_redis(), binary=binary) as server:
        assert found(server.port) == {}


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"appendonly": "no"}, "redis-aof-off"),
        ({"maxmemory-policy": "allkeys-lru"}, "redis-evicts"),
        ({"maxmemory-policy": "volatile-ttl"}, "redis-evicts"),
    ],
)
def test_configuration(server: RedisServer, operator: Any, changes: dict[str, str], name: str) -> None:
    """A server that forgets or evicts is found, without a right to read its configuration."""
    for setting, value in changes.items():
        operator.config_set(setting, value)

    assert set(found(server.port)) == {name}


def test_fsync(server: RedisServer, operator: Any) -> None:
    """A file that is never synced is found if the user may read the configuration."""
    operator.config_set("appendfsync", "no")
    assert found(server.port) == {}
    operator.execute_command("ACL SETUSER default +config|get")
    assert set(found(server.port)) == {"redis-fsync-off"}


@pytest.mark.parametrize("binary", ["", valkey_binary()], ids=["redis", "valkey"])
def test_confirmation(binary: str) -> None:
    """A server without WAITAOF is found, unless it syncs before it replies."""
    with RedisServer(options=[*shipped_redis(), *OPERATOR], binary=binary) as server:
        with redis.Redis(port=server.port, username="operator", password="x") as operator:
            is_confirming = operator.eval("return #redis.call('COMMAND', 'DOCS', 'WAITAOF')", 0) > 0
            assert ("redis-unconfirming" in examined(server.port)) is not is_confirming
            operator.config_set("appendfsync", "always")
            operator.execute_command("ACL SETUSER default +config|get")
        assert "redis-unconfirming" not in examined(server.port)


def test_nearly_full(server: RedisServer, operator: Any) -> None:
    """A server with little memory left is found before it refuses writes."""
    operator.set("filler", "x" * 20_000_000)
    until(lambda: operator.info("memory")["used_memory"] < 23_500_000)  # without the copies on the way
    operator.config_set("maxmemory", 24_000_000)

    assert set(found(server.port)) == {"redis-memory-low"}


@pytest.mark.parametrize(
    ("rule", "commands"),
    [
        ("-hset", "HSET"),
        ("-zadd -scan", "SCAN, ZADD"),
        ("-@transaction", "EXEC, MULTI"),
        ("-evalsha", "EVALSHA"),
        ("-time", "TIME"),
        ("-pttl -rename -xadd", "PTTL, RENAME, XADD"),
    ],
)
def test_missing_rights(server: RedisServer, operator: Any, rule: str, commands: str) -> None:
    """Each command that the user may not run is named."""
    operator.execute_command("ACL SETUSER default", *rule.split())

    assert found(server.port) == {"redis-right-missing": f"the user of this service may not run {commands}"}


def test_no_info(server: RedisServer, operator: Any) -> None:
    """Without INFO, doctor says what it could not check."""
    operator.execute_command("ACL SETUSER default -info")

    assert set(found(server.port)) == {"redis-info-denied", "redis-right-missing"}


def test_missing_keys(server: RedisServer, operator: Any) -> None:
    """Each pattern of keys that the user may not use is named."""
    operator.execute_command("ACL SETUSER default resetkeys ~tokens:* ~{tokens:* ~{acl:*")

    assert "the keys ~acl:*" in found(server.port)["redis-key-denied"]


def test_replica(server: RedisServer, operator: Any) -> None:
    """A server that has become a replica is found."""
    operator.replicaof("127.0.0.1", free_port())

    assert "redis-is-replica" in found(server.port)


def test_unguarded_replicas(server: RedisServer, operator: Any) -> None:
    """A primary that would take writes without its replicas is found, and a guarded one is right."""
    operator.config_set("repl-diskless-sync-delay", 0)
    login = ["--masteruser", "operator", "--masterauth", "x"]
    with RedisServer(options=["--replicaof", f"127.0.0.1 {server.port}", *login]) as replica:
        until(lambda: replica.client().info("replication")["master_link_status"] == "up")
        assert set(found(server.port)) == {"redis-replicas-unguarded"}
        operator.config_set("min-replicas-to-write", 1)
        until(lambda: operator.info("replication")["min_slaves_good_slaves"] == 1)
        assert found(server.port) == {}


def test_wrong_pepper(server: RedisServer, operator: Any) -> None:
    """A pepper other than that of the tokens is found, and the right one is not."""
    services = build_services(make_settings(REDIS_PORT=server.port))
    services.registry.issue(ACTOR, {"hosts": "a.test"})
    assert operator.exists("acl:peppers")

    assert set(found(server.port, PEPPER="another pepper")) == {"pepper-wrong"}
    assert found(server.port) == {}


def test_clock() -> None:
    """A clock that is wrong by an hour is found."""
    with StoppedClock() as clock, clock.server() as server:
        clock.set(946_684_800_000_000)
        what = found(server.port)["redis-clock"]

    assert re.fullmatch(r"the clock of Redis is \d+ s behind of the clock here", what)


def test_nobody_home() -> None:
    """A Redis that does not answer is a finding, and so is one with a password."""
    assert set(found(free_port())) == {"redis-unreachable"}


def test_password(server: RedisServer) -> None:
    """A wrong password is a finding, which does not quote it."""
    refused = found(server.port, REDIS_USERNAME="operator", REDIS_PASSWORD="guessed")

    assert set(refused) == {"redis-unreachable"}
    assert "guessed" not in str(refused)


def test_cluster(nodes: Nodes, cluster_client: Any) -> None:
    """Each node of a Cluster is examined, and named."""
    url = f"redis+cluster://127.0.0.1:{nodes.primaries[0].port}"
    assert found(REDIS_URL=url) == {}
    assert cluster_client.dbsize() == 0

    second = nodes.primaries[1]
    second.client().config_set("maxmemory-policy", "allkeys-lru")
    refused = found(REDIS_URL=url)
    second.client().config_set("maxmemory-policy", "noeviction")
    assert refused == {"redis-evicts": f"Redis at 127.0.0.1:{second.port} has maxmemory-policy allkeys-lru"}


def test_sentinels() -> None:
    """Each sentinel that can't be used is named."""
    dead = free_port()
    with RedisServer(aof=True) as primary, Sentinel(primary) as alive:
        url = f"redis+sentinel://127.0.0.1:{alive.port},127.0.0.1:{dead}/{SERVICE}"
        refused = found(REDIS_URL=url)

    assert set(refused) == {"redis-sentinel-down"}
    assert f"the sentinel 127.0.0.1:{dead} can't be used" in refused["redis-sentinel-down"]


def test_no_key_is_written(server: RedisServer, operator: Any) -> None:
    """A checkup writes nothing."""
    found(server.port)

    assert operator.dbsize() == 0


def test_every_command_is_checked() -> None:
    """The rights that are checked are those to each command that the store sends."""
    source = "".join(path.read_text("utf-8") for path in Path(checkup.__file__).parent.glob("*.py"))
    names = {"delete": "DEL", "zscan_iter": "ZSCAN"}
    methods = set(re.findall(r"(?:client|pipe|pinned)\.([a-z_]+)\(", source))
    others = {
        "at",
        "client",
        "close",
        "config_get",
        "execute",
        "execute_command",
        "pipeline",
        "evalsha",
        "eval",
    }
    sent = {names.get(method, method.upper()) for method in methods - others}
    sent |= set(re.findall(r'execute_command\(\s*"([A-Z]+)"', source)) - {"CLUSTER"}
    checked = {line.split()[0] for line in checkup.SENT} | checkup.scripted()

    assert sent - checked == set()
    assert len(sent) > 15


def test_arguments(real_client: Any) -> None:
    """The table has every command, with the number of arguments that Redis demands.

    With another number, Redis 8 would not tell whether the user may run the command.
    """
    known = real_client.execute_command("COMMAND", "INFO", *ARGUMENTS)

    assert {name.upper(): abs(each["arity"]) - 1 for name, each in known.items()} == ARGUMENTS
    assert {line for line in checkup.SENT if " " not in line} | checkup.scripted() == ARGUMENTS.keys()
