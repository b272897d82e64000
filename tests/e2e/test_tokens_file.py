"""TOKENS_FILE with real processes: replicas, reloads, crashes and commands at once."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis

from app.core.audit import Action, Entry, Rules, Wanted
from app.store import keys
from app.store.audit import RedisAudit
from devkit.ports import free_port
from devkit.redis_server import RedisServer
from devkit.service import Gunicorn
from devkit.waiting import until

pytestmark = pytest.mark.e2e

APPLIED, AGAIN = "TOKENS_FILE was applied: ", "TOKENS_FILE was applied: no changes"
# A command that prints so much has to wait for its reader before it is done.
MANY, LONG_HOST, PIPE_BYTES = 60, ".".join(["a" * 60] * 4), 4096


@pytest.fixture(name="server", scope="module")
def _server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture(name="database")
def _database(server: RedisServer) -> Iterator[Any]:
    """Return a client of the empty database."""
    with redis.Redis(port=server.port, protocol=2) as client:
        client.flushall()
        yield client


def write(path: Path, *names: str, host: str = "a.test") -> Path:
    """Write a file with tokens of those names, whose secrets follow from them, for *host*."""
    tables = []
    for name in names:
        secret = path.parent / f"{name}.secret"
        secret.write_text(f"{secret_of(name)}\n")
        secret.chmod(0o600)
        tables.append(f'[tokens.{name}]\nhosts = ["{host}"]\nsecret_file = "{secret.name}"\n')
    path.write_text("".join(tables) or "[tokens]\n")
    return path


def secret_of(name: str) -> str:
    """Return the secret of a token."""
    return f"{name}-{'s' * 24}"


def entries(database: Any) -> list[Entry]:
    """Return the audit entries, newest first."""
    return list(RedisAudit(database, 5, Rules()).newest(Wanted(), None, 1000).entries)


def hosts(database: Any) -> dict[str, str]:
    """Return the hosts of the managed tokens, by key."""
    found = [database.hmget(name, "managed", "hosts") for name in database.scan_iter("tokens:*")]
    return {key.decode(): host.decode() for key, host in found if key}


def command(service: Gunicorn, file: Path) -> subprocess.Popen[str]:
    """Start the command that applies *file* in the environment of *service*."""
    argv = [service.argv[0], "-m", "flask", "--app", "wsgi", "tokens", "apply", str(file)]
    return subprocess.Popen(
        argv,
        env=service.env,
        cwd=service.dir,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        pipesize=PIPE_BYTES,
    )


def test_four_replicas_at_once(server: RedisServer, database: Any, tmp_path: Path) -> None:
    """Replicas that start at once make one set of changes, with one audit entry each; later ones none."""
    names = [f"t{number}" for number in range(5)]
    file = write(tmp_path / "tokens.toml", *names)
    with ExitStack() as stack:
        replicas = [Gunicorn(server.port, tokens_file=file, web_concurrency=1) for _ in range(4)]
        for replica in replicas:
            stack.callback(replica.__exit__)
        with ThreadPoolExecutor() as pool:
            list(pool.map(Gunicorn.start, replicas))
        until(lambda: all(APPLIED in replica.log for replica in replicas))

        assert [each.action for each in entries(database)] == [Action.CREATE] * 5
        assert sum(replica.log.count("TOKENS_FILE: + ") for replica in replicas) == 5
        assert sum(AGAIN in replica.log for replica in replicas) == 3
        assert {replica.auth(secret_of("t3")).status for replica in replicas} == {200}
        assert not any(secret_of(name) in replica.log for name in names for replica in replicas)


def test_life_of_a_service(tmp_path: Path) -> None:
    """A file waits for Redis, is applied once, not by a worker that replaces another one, and by a reload."""
    file, port = write(tmp_path / "tokens.toml", "a"), free_port()
    with Gunicorn(port, tokens_file=file, tokens_file_prune="true", web_concurrency=2) as service:
        until(lambda: "TOKENS_FILE is not applied yet: " in service.log)
        assert service.auth(secret_of("a")).status == 503
        with RedisServer(port=port) as server:
            until(lambda: APPLIED in service.log)
            assert service.decided(secret_of("a")) == 200

            before = service.workers
            for worker in before:
                os.kill(worker, signal.SIGKILL)
            until(lambda: len(service.workers) == 2 and not {*before} & {*service.workers})
            write(file, "b")
            service.signal(signal.SIGHUP)
            until(lambda: service.log.count(APPLIED) == 2)
            assert (service.decided(secret_of("a")), service.decided(secret_of("b"))) == (401, 200)

            file.write_text("[tokens.b]\n")
            service.signal(signal.SIGHUP)
            until(lambda: "TOKENS_FILE is not valid, nothing was changed: line 1, tokens.b: " in service.log)
            file.write_text('[tokens.b]\nhosts = ["a.test"]\nsecret_file = "b.secret"\nquota_max = 5\n')
            service.signal(signal.SIGHUP)
            until(lambda: "tokens.b.quota_period: needed with quota_max" in service.log)
            write(file, "b", "c")
            service.signal(signal.SIGHUP)
            until(lambda: service.log.count(APPLIED) == 3)
            assert (service.decided(secret_of("b")), service.decided(secret_of("c"))) == (200, 200)
            with redis.Redis(port=server.port, protocol=2) as client:
                actions = [each.action for each in entries(client)]
            assert actions == [Action.CREATE, Action.DELETE, Action.CREATE, Action.CREATE]
        assert secret_of("a") not in service.log


def test_bad_file(tmp_path: Path) -> None:
    """A file that is not valid stops the start with one message, before Redis is asked."""
    file = write(tmp_path / "tokens.toml", "a")
    (tmp_path / "a.secret").chmod(0o644)
    service = Gunicorn(1, tokens_file=file)
    with ExitStack() as stack:
        stack.callback(service.__exit__)
        with pytest.raises(RuntimeError) as caught:
            service.start()

    (problem,) = [line for line in str(caught.value).splitlines() if "TOKENS_FILE" in line]
    assert problem.startswith("  TOKENS_FILE: line 3, tokens.a.secret_file: its file is open to every user")
    assert "Traceback" not in str(caught.value)


def test_kill_in_the_middle(server: RedisServer, database: Any, tmp_path: Path) -> None:
    """If a command is killed between two changes, the next one does the rest, and no change is made twice."""
    file = write(tmp_path / "tokens.toml", *(f"t{number}" for number in range(MANY)), host=LONG_HOST)
    service = Gunicorn(server.port)
    with ExitStack() as stack:
        stack.callback(service.__exit__)
        killed = command(service, file)
        assert killed.stdout
        assert killed.stdout.readline() == f"+ t0: create for {LONG_HOST}\n"
        killed.kill()
        killed.communicate()
        made = len(hosts(database))
        assert database.exists(keys.TURN)
        database.pexpire(keys.TURN, 100)  # as it would by itself, later
        printed, _ = command(service, file).communicate(timeout=100)

    assert 0 < made < MANY
    assert printed.count("+ ") == MANY - made
    assert len(hosts(database)) == len(entries(database)) == MANY


def test_two_files_at_once(server: RedisServer, database: Any, tmp_path: Path) -> None:
    """Of two files that are applied at once, the result is one as a whole."""
    names = [f"t{number}" for number in range(MANY)]
    files = [write(tmp_path / f"{host}.toml", *names, host=host) for host in ("a.test", "b.test")]
    service = Gunicorn(server.port)
    with ExitStack() as stack:
        stack.callback(service.__exit__)
        commands = [command(service, file) for file in files]
        printed = [each.communicate(timeout=100)[0] for each in commands]

    assert [each.returncode for each in commands] == [0, 0]
    assert sorted(text.count("+ ") for text in printed) == [0, MANY]
    assert sorted(text.count("~ ") for text in printed) == [0, MANY]
    assert hosts(database) in [dict.fromkeys(names, host) for host in ("a.test", "b.test")]
    assert len(entries(database)) == 2 * MANY
