"""Every way to say where Redis is, against servers that run: decisions, health, pages and commands."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis

from devkit.cluster import Nodes
from devkit.ports import free_port
from devkit.redis_server import RedisServer
from devkit.sentinels import SERVICE, Sentinel
from devkit.service import Gunicorn, record_key

pytestmark = pytest.mark.e2e

USER, PASSWORD = "us/er", "p@s/s?#:% é"
ENCODED = "us%2Fer:p%40s%2Fs%3F%23%3A%25%20%C3%A9"
LOGIN = {"redis_username": USER, "redis_password": PASSWORD}


def admit(server: RedisServer, *others: str) -> None:
    """Have *server* know the user, and deny everybody else what *others* says."""
    client = server.client()
    client.acl_setuser(
        USER, enabled=True, passwords=[f"+{PASSWORD}"], commands=["+@all"], keys="*", channels="*"
    )
    client.execute_command("ACL", "SETUSER", "default", *others)


class Place:
    """Servers with a socket: open to all, with a user, with a password."""

    def __init__(self, stack: ExitStack, directory: Path) -> None:
        self.dir = directory
        both = ["--bind", "127.0.0.1", "-::1"]  # the minus: where there is no IPv6, that is no error
        self.open, self.named, self.locked = (
            stack.enter_context(RedisServer(options=[*both, "--unixsocket", str(directory / f"{name}.sock")]))
            for name in ("open", "a b", "locked")
        )
        admit(self.open)
        admit(self.named, "-@scripting")
        admit(self.locked, "resetpass", f">{PASSWORD}")

    def fill(self, text: str) -> str:
        """Return *text* with what is known only now."""
        ports = {name: getattr(self, name).port for name in ("named", "open", "locked")}
        return text.format(dir=self.dir, login=ENCODED, password=ENCODED.partition(":")[2], **ports)


@pytest.fixture(scope="module", name="place")
def _place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with ExitStack() as stack:
        yield Place(stack, tmp_path_factory.mktemp("sockets"))


def service(redis_port: object = None, **settings: object) -> Gunicorn:
    """Return a service of one worker that has time on a busy machine."""
    return Gunicorn(redis_port, web_concurrency=1, redis_deadline_ms=5000, **settings)


def check(own: Gunicorn) -> str:
    """See that everything works, and return the token that was made for it."""
    token = own.issue("a.test")
    assert [own.auth(token).status, own.auth(token, "b.test").status, own.auth("acl_x").status] == [
        200,
        403,
        401,
    ]
    assert [own.page("/healthz").status, own.page("/").status] == [200, 200]
    command = [own.argv[0], "-m", "flask", "--app", "wsgi", "tokens", "list"]
    listed = subprocess.run(
        command, env=own.env, cwd=own.dir, capture_output=True, text=True, timeout=60, check=True
    )
    assert "a.test" in listed.stdout
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
def test_one_server(place: Place, settings: dict[str, Any], db: int) -> None:
    """What an address and its settings say is what is done, down to the database."""
    filled = {
        name: place.fill(value) if name in {"redis_url", "redis_port"} else value
        for name, value in settings.items()
    }
    with service(**filled) as own:
        token = check(own)
    server = next(one for one in (place.open, place.named, place.locked) if _holds(one, token, db))
    assert [_holds(server, token, other) for other in range(8)] == [other == db for other in range(8)]


def _holds(server: RedisServer, token: str, db: int) -> bool:
    with redis.Redis(port=server.port, db=db, username=USER, password=PASSWORD, protocol=2) as client:
        return bool(client.exists(record_key(token)))


def test_sentinels(tmp_path: Path) -> None:
    """User and password of the primary are settings of their own, those of the sentinels stand in a file."""
    with ExitStack() as stack:
        primary = stack.enter_context(RedisServer())
        monitor = [f"sentinel auth-user {SERVICE} {USER}", f'sentinel auth-pass {SERVICE} "{PASSWORD}"']
        admit(primary, "-@scripting")
        sentinels = [stack.enter_context(Sentinel(primary, options=monitor)) for _ in range(3)]
        for sentinel in sentinels:
            admit(sentinel, "-sentinel")
        places = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in sentinels)
        user, _, password = ENCODED.partition(":")
        options = f"sentinel_username={user}&sentinel_password={password}"
        (tmp_path / "url").write_text(f"redis+sentinel://{places}/{SERVICE}/3?{options}\r\n")
        (tmp_path / "password").write_text(f"{PASSWORD}\n")
        settings = {"redis_url_file": tmp_path / "url", "redis_username": USER}
        own = stack.enter_context(service(redis_password_file=tmp_path / "password", **settings))

        assert _holds(primary, check(own), 3)


def test_cluster(tmp_path: Path) -> None:
    """A password in a file is that of every node of a Cluster."""
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    with Nodes() as nodes:
        for node in nodes.primaries:
            admit(node, "-@scripting")
        settings = {"redis_url": nodes.url, "redis_username": USER}
        with service(redis_password_file=tmp_path / "password", **settings) as own:
            for _ in range(3):
                check(own)


@pytest.mark.parametrize(
    "address", [{"redis_url": "redis://127.0.0.1:{open}/16"}, {"redis_url": "unix://{dir}/open.sock?db=99"}]
)
def test_no_such_database(place: Place, address: dict[str, str]) -> None:
    """A database that the server does not have is its own error, in the log in its own words."""
    with service(redis_url=place.fill(address["redis_url"])) as own:
        assert [own.auth("x" * 20).status, own.page("/healthz").status, own.page("/").status] == [
            503,
            503,
            503,
        ]
        assert "DB index is out of range" in own.log


def test_nobody_there() -> None:
    """An address of nobody is no reason not to start: Redis may come later."""
    with service(redis_url=f"unix:///tmp/nobody-{free_port()}.sock") as own:
        assert [own.auth("x" * 20).status, own.page("/healthz").status, own.page("/").status] == [
            503,
            503,
            503,
        ]
