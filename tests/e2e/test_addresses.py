"""Every supported form of a Redis address works against a real server: decisions, health, pages, CLI."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis

from app import create_app
from app.settings import Settings
from devkit.cluster import Nodes
from devkit.ports import free_port
from devkit.redis_server import RedisServer
from devkit.sentinels import PATIENT, SERVICE, Sentinel
from devkit.service import Gunicorn, record_key

pytestmark = pytest.mark.e2e

USER, PASSWORD = "us/er", "p@s/s?#:% é"
ENCODED = "us%2Fer:p%40s%2Fs%3F%23%3A%25%20%C3%A9"
LOGIN = {"redis_username": USER, "redis_password": PASSWORD}


def admit(server: RedisServer, *default_rules: str) -> None:
    """Create the test user on *server* and apply the ACL rules *default_rules* to the default user."""
    client = server.client()
    client.acl_setuser(
        USER, enabled=True, passwords=[f"+{PASSWORD}"], commands=["+@all"], keys="*", channels="*"
    )
    client.execute_command("ACL", "SETUSER", "default", *default_rules)


class RedisServers:
    """Three servers with Unix sockets: an open one, one that needs a user, one that needs a password."""

    def __init__(self, stack: ExitStack, directory: Path) -> None:
        self.dir = directory
        loopback = ["--bind", "127.0.0.1", "-::1"]  # "-" tolerates a host without IPv6
        self.open, self.named, self.locked = (
            stack.enter_context(
                RedisServer(options=[*loopback, "--unixsocket", str(directory / f"{name}.sock")])
            )
            for name in ("open", "a b", "locked")
        )
        admit(self.open)
        admit(self.named, "-@scripting")
        admit(self.locked, "resetpass", f">{PASSWORD}")

    def fill(self, template: str) -> str:
        """Return *template* with the ports, paths and credentials of these servers filled in."""
        ports = {name: getattr(self, name).port for name in ("named", "open", "locked")}
        return template.format(dir=self.dir, login=ENCODED, password=ENCODED.partition(":")[2], **ports)


@pytest.fixture(scope="module", name="redis_servers")
def _redis_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServers]:
    with ExitStack() as stack:
        yield RedisServers(stack, tmp_path_factory.mktemp("sockets"))


def service(redis_port: object = None, **settings: object) -> Gunicorn:
    """Return a service with one worker and a deadline generous enough for a busy machine."""
    return Gunicorn(redis_port, web_concurrency=1, redis_deadline_ms=5000, **settings)


def check(gunicorn: Gunicorn) -> str:
    """Check decisions, health, pages and CLI of *own*, and return a token issued for the check."""
    token = gunicorn.issue("a.test")
    assert [
        gunicorn.auth(token).status,
        gunicorn.auth(token, "b.test").status,
        gunicorn.auth("acl_x").status,
    ] == [
        200,
        403,
        401,
    ]
    assert [gunicorn.page("/healthz").status, gunicorn.page("/").status] == [200, 200]
    app = create_app(Settings.from_environ(gunicorn.env))
    assert "a.test" in app.test_cli_runner().invoke(args=["tokens", "list"]).stdout
    return token


FORMS: list[tuple[dict[str, Any], int]] = [
    ({"redis_url": "unix://{dir}/open.sock"}, 0),
    ({"redis_url": "unix://:{password}@{dir}/locked.sock?db=3"}, 3),
    ({"redis_url": "unix://{dir}/locked.sock", "redis_password": PASSWORD + "\n"}, 0),
    ({"redis_url": "UNIX://{login}@{dir}/a%20b.sock"}, 0),
    ({"redis_url": "redis://127.0.0.1:{open}"}, 0),
    ({"redis_url": "Redis://LOCALHOST:{open}/2"}, 2),
    ({"redis_url": "redis://{login}@127.0.0.1:{named}/%34?db=4"}, 4),
    ({"redis_url": "redis://:{password}@127.0.0.1:{locked}/?db=5"}, 5),
    ({"redis_url": "redis://us%2Fer@127.0.0.1:{named}", "redis_password": PASSWORD}, 0),
    ({"redis_url": "redis://127.0.0.1:{named}/6", "redis_db": 6} | LOGIN, 6),
    ({"redis_host": "LocalHost", "redis_port": "{named}", "redis_db": 7} | LOGIN, 7),
    ({"redis_port": "{locked}", "redis_password": PASSWORD, "redis_url": ""}, 0),
]

if Path("/proc/net/if_inet6").exists() and Path("/proc/net/if_inet6").read_text():
    FORMS += [
        ({"redis_url": "redis://[::1]:{open}/1"}, 1),
        ({"redis_host": "::1", "redis_port": "{open}"}, 0),
    ]


@pytest.mark.parametrize(("settings", "db"), FORMS)
def test_one_server(redis_servers: RedisServers, settings: dict[str, Any], db: int) -> None:
    """An address and its settings select exactly one server and one database."""
    filled = {
        name: redis_servers.fill(value) if name in {"redis_url", "redis_port"} else value
        for name, value in settings.items()
    }
    with service(**filled) as gunicorn:
        token = check(gunicorn)
    server = next(
        candidate
        for candidate in (redis_servers.open, redis_servers.named, redis_servers.locked)
        if _holds(candidate, token, db)
    )
    assert [_holds(server, token, number) for number in range(8)] == [number == db for number in range(8)]


def _holds(server: RedisServer, token: str, db: int) -> bool:
    with redis.Redis(port=server.port, db=db, username=USER, password=PASSWORD, protocol=2) as client:
        return bool(client.exists(record_key(token)))


def test_sentinels(tmp_path: Path) -> None:
    """The primary's credentials come from REDIS_* settings, the sentinels' from the URL."""
    with ExitStack() as stack:
        primary = stack.enter_context(RedisServer())
        monitor = [f"sentinel auth-user {SERVICE} {USER}", f'sentinel auth-pass {SERVICE} "{PASSWORD}"']
        admit(primary, "-@scripting")
        sentinels = [stack.enter_context(Sentinel(primary, options=[*monitor, PATIENT])) for _ in range(3)]
        for sentinel in sentinels:
            admit(sentinel, "-sentinel")
        places = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in sentinels)
        user, _, password = ENCODED.partition(":")
        options = f"sentinel_username={user}&sentinel_password={password}"
        (tmp_path / "url").write_text(f"redis+sentinel://{places}/{SERVICE}/3?{options}\r\n")
        (tmp_path / "password").write_text(f"{PASSWORD}\n")
        settings = {"redis_url_file": tmp_path / "url", "redis_username": USER}
        gunicorn = stack.enter_context(service(redis_password_file=tmp_path / "password", **settings))

        assert _holds(primary, check(gunicorn), 3)


def test_cluster(tmp_path: Path) -> None:
    """A password read from a file is used for every node of a cluster."""
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    with Nodes() as nodes:
        for node in nodes.primaries:
            admit(node, "-@scripting")
        settings = {"redis_url": nodes.url, "redis_username": USER}
        with service(redis_password_file=tmp_path / "password", **settings) as gunicorn:
            for _ in range(3):
                check(gunicorn)


@pytest.mark.parametrize(
    "address", [{"redis_url": "redis://127.0.0.1:{open}/16"}, {"redis_url": "unix://{dir}/open.sock?db=99"}]
)
def test_no_such_database(redis_servers: RedisServers, address: dict[str, str]) -> None:
    """A database number that the server does not have is a 503, and the log quotes the server's error."""
    with service(redis_url=redis_servers.fill(address["redis_url"])) as gunicorn:
        assert [
            gunicorn.auth("x" * 20).status,
            gunicorn.page("/healthz").status,
            gunicorn.page("/").status,
        ] == [
            503,
            503,
            503,
        ]
        assert "DB index is out of range" in gunicorn.log


def test_unreachable_redis() -> None:
    """The service starts although Redis is unreachable, because Redis may come up later."""
    with service(redis_url=f"unix:///tmp/missing-{free_port()}.sock") as gunicorn:
        assert [
            gunicorn.auth("x" * 20).status,
            gunicorn.page("/healthz").status,
            gunicorn.page("/").status,
        ] == [
            503,
            503,
            503,
        ]
