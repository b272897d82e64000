"""docs/start.md, docs/incidents.md and the backups of docs/operations.md, run as they are printed."""

from __future__ import annotations

import json
import re
import socket
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from shutil import which

import pytest

from devkit import leaks
from devkit.http import call
from devkit.pages import blocks, run, script
from devkit.ports import free_port
from devkit.process import ROOT
from devkit.redis_server import RedisServer
from devkit.service import ADMIN_USER, Gunicorn, record_key
from devkit.waiting import until

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not which("curl"), reason="there is no curl on the PATH"),
]
cli = pytest.mark.skipif(
    not (which("redis-cli") and which("redis-server")), reason="Redis and redis-cli are not on the PATH"
)

START, INCIDENTS, OPERATIONS = (f"docs/{name}.md" for name in ("start", "incidents", "operations"))
HOST = "app.example.com"
SECRET = re.compile(r"acl_\w{38}")
BIN = Path(sys.executable).parent
READY = "until curl -si http://hello.localhost:8080/ | grep -q 401; do sleep 0.1; done"


@pytest.fixture(name="server", scope="module")
def _server() -> Iterator[RedisServer]:
    with RedisServer(aof=True) as server:
        yield server


def service_on(server: RedisServer, **settings: object) -> Gunicorn:
    """Return a service that finds *server* by its URL, so that a command can name another one."""
    url = f"redis://127.0.0.1:{server.port}"
    return Gunicorn(None, redis_url=url, web_concurrency=1, **settings)


@pytest.fixture(name="service", scope="module")
def _service(server: RedisServer) -> Iterator[Gunicorn]:
    with service_on(server) as service:
        yield service


def on(server: RedisServer, commands: str) -> str:
    """Return *commands* for the files and the port of *server*, and for a free port in the drill."""
    commands = commands.replace("/var/lib/redis", str(server.dir)).replace("6390", f"{free_port()}")
    return re.sub(r"redis-cli (?!-p )", f"redis-cli -p {server.port} ", commands)


def is_listening(port: int) -> bool:
    """Tell whether anything accepts connections on *port*."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def digest(secret: str) -> str:
    """Return the SHA-256 by which addresses name a token."""
    return record_key(secret).removeprefix("tokens:")


def refusal(service: Gunicorn, secret: str) -> str:
    """Return the log after *secret* was refused once more."""
    assert service.auth(secret, HOST).status == 401
    return service.log


def secrets_in(text: str) -> list[str]:
    """Return the secrets in *text*, which no log may have."""
    found = SECRET.findall(text)
    for secret in found:
        leaks.remember(secret)
    return found


def local(commands: str, ports: Mapping[str, int]) -> str:
    """Return *commands* with the installed Traefik, free *ports*, and a wait until Traefik has its routes."""
    commands = re.sub(r"^(make run|\.venv/bin/pip .*)$", "", commands, flags=re.MULTILINE)
    commands = re.sub(r"^\.venv/bin/(traefik .*)$", rf"{BIN}/\1\n{READY}", commands, flags=re.MULTILINE)
    return re.sub(r"\b(8080|9000)\b", lambda found: f"{ports[found[1]]}", commands)


def test_start(service: Gunicorn) -> None:
    """Every command of docs/start.md after `make run` shows what the page says, in the same order."""
    ports = {"8080": free_port(), "9000": free_port()}
    printed = run(local(script(START), ports), service).replace("\r", "")

    for lines in blocks(START, "text")[1:]:  # the first is that of `make run`
        for line in filter(None, lines.split("\n")):
            before, found, printed = printed.partition(line)
            assert found, f"{line!r} is not in {before}"
    until(lambda: not any(map(is_listening, ports.values())))


def test_leaked_token(service: Gunicorn) -> None:
    """A leaked token is stopped at once, and its holder gets another one."""
    secret = service.issue(HOST)
    (service.dir / "leaked.txt").write_text(secret)
    stop, *rest = blocks(INCIDENTS, "sh", "A leaked token")
    stopped = run(stop, service)
    assert re.fullmatch(r"disabled \w+\n", stopped)
    assert service.auth(secret, HOST).status == 401

    printed = run("".join(rest), service, ID=stopped.split()[1])

    assert "(shell) disabled token" in printed
    assert [service.auth(new, HOST).status for new in secrets_in(printed)] == [200]
    assert "ended=deleted" in refusal(service, secret)


def test_leaked_token_is_rotated(service: Gunicorn) -> None:
    """The other way ends the leaked secret as well, and keeps the token."""
    secret = service.issue(HOST)
    (service.dir / "leaked.txt").write_text(secret)
    [command] = re.findall(r"`(\S+ --app wsgi tokens rotate [^`]*)`", (ROOT / INCIDENTS).read_text("utf-8"))

    [new] = secrets_in(run(command, service))

    assert [service.auth(each, HOST).status for each in (secret, new)] == [401, 200]


def test_leaked_admin_password(service: Gunicorn) -> None:
    """What was done with the password is found, with the address that it came from."""
    service.issue("ordered-by-nobody.test")
    commands = script(INCIDENTS, "A leaked admin password").replace("--actor admin", f"--actor {ADMIN_USER}")

    assert re.search(
        rf"{ADMIN_USER} \(page, 127\.0\.0\.1\) .* ordered-by-nobody\.test", run(commands, service)
    )


def test_lost_pepper(service: Gunicorn, server: RedisServer) -> None:
    """With another pepper nothing is decided, until every token gets a new secret under it."""
    secret = service.issue(HOST, comment="kept")
    with service_on(server, pepper="another pepper of the tests") as other:
        assert other.auth(secret, HOST).status == 503
        assert "PEPPER is not the one" in other.log

        run(script(INCIDENTS, "A lost pepper"), other)

        lines = (other.dir / "new-secrets.jsonl").read_text()
        assert all(secrets_in(line) for line in lines.splitlines())
        [new] = [token for token in map(json.loads, lines.splitlines()) if token["comment"] == "kept"]
        assert [other.decided(each, HOST) for each in (secret, new["token"])] == [401, 200]


@cli
def test_full_redis() -> None:
    """A full Redis is what the page says it is, and makes decisions again after what the page says to do."""
    with RedisServer(aof=True) as server, service_on(server) as service:
        secret, unused = service.issue(HOST), service.issue("unused.test")
        server.client().config_set("maxmemory", 1)

        assert service.auth(secret, HOST).status == call(service.port, "/healthz").status == 503
        assert "its memory is full; raise its maxmemory" in service.log
        pages = (f"/tokens/{digest(unused)}", "/audit", "/", "/api/v1/tokens")
        assert [service.page(page).status for page in pages] == [200, 200, 503, 503]
        assert service.post("/disable_token", token=unused).status == 503
        assert service.post("/delete_token", token=unused).status == 303

        run(on(server, script(INCIDENTS, "A full Redis")), service)
        assert service.decided(secret, HOST) == 200


@cli
def test_backup_and_restore() -> None:
    """A token is back from the files of Redis, and from an export; the drill tells that both are complete."""
    with RedisServer(aof=True) as server, service_on(server) as service:
        secret = service.issue(HOST)
        (service.dir / "token.txt").write_text(secret)
        (service.dir / "tokens.jsonl").symlink_to("backup/tokens.jsonl")
        run(on(server, script(OPERATIONS, "Backups")), service)
        [importing, *drill] = blocks(OPERATIONS, "sh", "Restore")

        printed = run(on(server, "".join(drill)).replace("--dry-run", "--dry-run 2>&1"), service)
        assert "already here: 1" in printed
        assert re.search(rf"Hosts +{re.escape(HOST)}", printed)

        service.post("/delete_token", token=secret)
        assert "(shell)" not in run(script(INCIDENTS, "Lost data"), service)
        server.client().flushall()
        run(importing, service)
        assert service.decided(secret, HOST) == 200
