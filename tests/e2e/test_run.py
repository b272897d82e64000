"""``make run`` on a machine with other users: its Redis and its data are accessible to one user only."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import redis

from devkit.http import Answer, bearer, call, forwarded
from devkit.ports import free_port
from devkit.proc import children
from devkit.process import ROOT, Process
from devkit.redis_server import RedisServer, redis_binary, valkey_binary
from devkit.waiting import until

pytestmark = pytest.mark.e2e

PARTS = ("app", "scripts", "gunicorn.conf.py", "wsgi.py")
ODD = 'it\'s a #1 {odd} "100%" nämë?'
LONG = "/".join(["n" * 60] * 4)
STRAY = "a line end\nand no UTF-8 \udcff"
OTHER_USER = 65534
INTRUDER = ROOT / "devkit" / "drills" / "intruder.py"

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")


class Checkout(Process):
    """A copy of the files that ``make run`` needs, with its own data and secrets, run as a process."""

    name = "run"
    start_deadline_s = 60

    def __init__(self, place: str = "checkout", **env: str) -> None:
        super().__init__()
        self.dir.chmod(0o755)  # so that other users can reach it
        self.root = self.dir / place
        self.root.mkdir(parents=True)
        for part in PARTS:
            copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
            copy(ROOT / part, self.root / part)
        self.data, self.env_file = self.root / "data", self.root / ".env"
        self.port = free_port()
        self.temporary = self.dir / "tmp"
        self.temporary.mkdir()
        self.env |= {"PORT": str(self.port), "TMPDIR": str(self.temporary), "WEB_CONCURRENCY": "1", **env}
        self.argv = [sys.executable, str(self.root / "scripts/run.py")]
        self._read = 0

    def __exit__(self, *_: object) -> None:
        left = self._descendants() if self._popen and self._popen.poll() is None else {}
        self.kill()
        for pid in left.values():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        super().__exit__()

    def start(self) -> None:
        """Start ``make run``, and remember where its output begins in the log."""
        self._read = len(self.log) if self.log_path.exists() else 0
        super().start()

    @property
    def output(self) -> str:
        """Return the output since the last start."""
        return self.log[self._read :]

    def is_ready(self) -> bool:
        """Return whether ``make run`` has reported that it is ready."""
        return "Ctrl-C stops everything" in self.output

    def _descendants(self) -> dict[str, int]:
        return {comm(pid): pid for pid in children(self.pid)}

    @property
    def server(self) -> int:
        """Return the process id of Redis."""
        return next(pid for name, pid in self._descendants().items() if re.search("redis|valkey", name))

    @property
    def service(self) -> int:
        """Return the process id of gunicorn."""
        return next(pid for pid in children(self.pid) if pid != self.server)

    @property
    def password(self) -> str:
        """Return the password of Redis."""
        return (self.data / "redis.url").read_text().partition("default:")[2].partition("@")[0]

    @property
    def admin_pass(self) -> str:
        """Return the admin password that the first run wrote to .env."""
        return self._setting("ADMIN_PASS")

    def _setting(self, name: str) -> str:
        return self.env_file.read_text().partition(f"{name}=")[2].splitlines()[0]

    def page(self, user: str, password: str) -> Answer:
        """Request the first admin page."""
        return call(self.port, "/", [_basic(user, password)])

    def client(self, password: str = "") -> redis.Redis:
        """Return a client of the embedded Redis, with *password* instead of the right one if given."""
        path = f"/proc/{self.pid}/cwd/data/redis.sock"  # short, however long the real path is
        return redis.Redis(unix_socket_path=path, password=password or self.password)

    def flask(self, *args: str) -> str:
        """Run a flask command as in another shell, with no environment variable but PATH."""
        command = [sys.executable, "-m", "flask", "--app", "wsgi", "tokens", *args]
        env = {"PATH": os.environ["PATH"]}
        return subprocess.run(
            command, env=env, cwd=self.root, check=True, capture_output=True, text=True, timeout=60
        ).stdout.strip()

    def issue(self) -> str:
        """Issue a token for a.test through the API and return its secret."""
        operator = _basic(self._setting("ADMIN_USER"), self.admin_pass)
        kind = ("Content-Type", "application/json")
        answer = call(self.port, "/api/v1/tokens", [operator, kind], "POST", b'{"hosts": ["a.test"]}')
        assert answer.status == 201, answer.text
        return str(answer.json()["token"])

    def auth(self, token: str) -> Answer:
        """Request /auth as Traefik would."""
        return call(self.port, "/auth", [*forwarded("a.test"), *bearer(token)])

    def refusal(self) -> str:
        """Run ``make run``, which must fail, and return its error message."""
        run = subprocess.run(
            self.argv, env=self.env, cwd=self.dir, capture_output=True, text=True, timeout=60, check=False
        )
        assert run.returncode == 1, run.stderr
        assert "Traceback" not in run.stderr
        return run.stderr.strip()


def _basic(user: str, password: str) -> tuple[str, str]:
    return "Authorization", "Basic " + b64encode(f"{user}:{password}".encode()).decode()


def comm(pid: int) -> str:
    """Return the name of the executable that a process was started from."""
    return Path(f"/proc/{pid}/comm").read_text().strip()


def is_alive(pid: int) -> bool:
    """Return whether a process is running."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


def tcp_ports(pid: int) -> set[int]:
    """Return the TCP ports that a process listens on."""
    links = {str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()}
    rows = [
        line.split()
        for table in ("tcp", "tcp6")
        if Path(f"/proc/{pid}/net/{table}").exists()
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]
    ]
    return {int(row[1].split(":")[1], 16) for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in links}


def allowed(*paths: Path) -> list[str]:
    """Return the names of those *paths* that another user of the machine can use."""
    command = [sys.executable, str(INTRUDER), str(OTHER_USER), *map(str, paths)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return [Path(line).name for line in run.stdout.splitlines()]


def modes(root: Path) -> dict[str, str]:
    """Return the names and modes of all files below *root* that other users have any right to."""
    everything = [root, *root.rglob("*")]
    return {path.name: oct(path.stat().st_mode) for path in everything if path.stat().st_mode & 0o077}


@pytest.fixture
def checkout() -> Iterator[Checkout]:
    """Return a checkout that has not been started."""
    checkout = Checkout()
    yield checkout
    checkout.__exit__()


@pytest.fixture(scope="module", name="running")
def _running() -> Iterator[Checkout]:
    with Checkout() as running:
        yield running


class TestRunning:
    """A running service, as seen from outside."""

    def test_no_port(self, running: Checkout) -> None:
        """Redis listens on no TCP port, and the service on a single one on loopback."""
        assert tcp_ports(running.server) == set()
        assert tcp_ports(running.service) == {running.port}

    @as_root
    def test_another_user(self, running: Checkout) -> None:
        """Another user can neither connect to the socket nor read the data directory or the secrets."""
        data = running.data
        inside = [data / name for name in ("redis.sock", "redis.url", "redis.log", "lock", "appendonlydir")]
        assert all(path.exists() for path in inside)
        assert allowed(data, *inside, running.env_file, running.root / "wsgi.py") == ["wsgi.py"]

    def test_modes(self, running: Checkout) -> None:
        """The data files are closed to other users even if their directory were open."""
        assert modes(running.data) == {}
        assert modes(running.env_file) == {}

    def test_password_appears_in_one_file(self, running: Checkout) -> None:
        """The Redis password is in one file, and in no command line, environment or log."""
        pids = [running.pid, *children(running.pid), *children(running.service)]
        contents = [
            Path(f"/proc/{pid}/{file}").read_bytes() for pid in pids for file in ("cmdline", "environ")
        ]
        assert not any(running.password.encode() in content for content in contents)
        files = [path for path in running.root.rglob("*") if path.is_file()]
        holders = [path.name for path in files if running.password.encode() in path.read_bytes()]
        assert holders == ["redis.url"]
        assert running.password not in running.log

    def test_second_run(self, running: Checkout) -> None:
        """A second run in the same checkout fails with a message and leaves the first run alone."""
        token, server = running.issue(), running.server
        second = subprocess.run(
            running.argv, env=running.env, capture_output=True, text=True, timeout=60, check=False
        )
        assert (second.returncode, second.stdout) == (1, "")
        assert f"already runs in this checkout (process {running.pid})" in second.stderr
        assert (running.server, running.auth(token).status) == (server, 200)

    def test_no_needless_advice(self, running: Checkout) -> None:
        """The first page does not advise a setting that is already in place."""
        page = running.page("admin", running.admin_pass).text
        assert "Tokens" in page
        assert "appendfsync" not in page

    def test_dead_server(self, running: Checkout) -> None:
        """A Redis that dies is restarted on the same socket with all its tokens."""
        token, server = running.issue(), running.server
        os.kill(server, signal.SIGKILL)
        until(lambda: running.auth(token).status == 200 and running.server != server)
        assert tcp_ports(running.server) == set()


@pytest.mark.parametrize("place", [LONG, ODD, STRAY], ids=["long", "odd", "stray"])
def test_any_place(place: str) -> None:
    """Service and commands work wherever the checkout is, however long or unusual its path."""
    with Checkout(place) as running:
        token = running.flask("create", "a.test")
        assert running.auth(token).status == 200
        assert running.flask("list")
        assert not list(running.temporary.iterdir())


@pytest.mark.parametrize("version", ["", "Redis server v=6.2.14 sha=00000000:0 bits=64"], ids=["none", "old"])
def test_packaged_server(tmp_path: Path, version: str) -> None:
    """If the machine has no Redis, or one that is too old, the packaged server is used."""
    if version:
        (tmp_path / "redis-server").write_text(f"#!/bin/sh\necho '{version}'\n")
        (tmp_path / "redis-server").chmod(0o755)
    with Checkout(PATH=str(tmp_path)) as running:
        assert running.auth(running.issue()).status == 200
        assert comm(running.server) == Path(valkey_binary()).name
        assert tcp_ports(running.server) == set()


def kill_run(run: Checkout) -> None:
    """Kill the ``make run`` process, so that it cannot stop its children."""
    run.signal(signal.SIGKILL)
    run.wait()


def kill_all(run: Checkout) -> None:
    """Kill all processes at once, as a crash of the machine does."""
    for pid in [run.pid, run.server, *children(run.service), run.service]:
        os.kill(pid, signal.SIGKILL)
    run.wait()


def kill_all_but_redis(run: Checkout) -> None:
    """Kill everything but Redis, as on systems where a child can outlive its parent."""
    run_server, others = run.server, [*children(run.service), run.service]
    os.kill(run_server, signal.SIGSTOP)
    for pid in [run.pid, *others]:
        os.kill(pid, signal.SIGKILL)
    run.wait()


def stop_with(number: signal.Signals) -> Callable[[Checkout], None]:
    """Return a function that stops a run cleanly with the signal *number*."""

    def end(run: Checkout) -> None:
        everything = [run.server, run.service, *children(run.service)]
        run.signal(number)
        assert run.wait() == 0
        until(lambda: not any(map(is_alive, everything)))
        assert not (run.data / "redis.sock").exists()

    return end


def end_impatiently(run: Checkout) -> None:
    """Send SIGTERM repeatedly, as an impatient user does, or make together with an init system."""
    while run.is_alive:
        run.signal(signal.SIGTERM)
    assert run.wait() == 0
    assert "Traceback" not in run.output


STOPS: dict[str, Callable[[Checkout], None]] = {
    "ctrl-c": stop_with(signal.SIGINT),
    "sigterm": stop_with(signal.SIGTERM),
    "impatient": end_impatiently,
    "kill": kill_run,
    "crash": kill_all,
    "leftover": kill_all_but_redis,
}


@pytest.mark.parametrize("end", STOPS.values(), ids=STOPS)
def test_next_start(checkout: Checkout, end: Callable[[Checkout], None]) -> None:
    """However a run ended, the next one has its tokens, a new password, one server and no leftovers."""
    checkout.start()
    admin = checkout.admin_pass
    assert f"  Password    {admin}" in checkout.output
    token, old, server = checkout.issue(), checkout.password, checkout.server
    end(checkout)
    checkout.start()
    assert checkout.auth(token).status == 200
    until(lambda: not is_alive(server))
    assert admin not in checkout.output
    with checkout.client(old) as client, pytest.raises(redis.AuthenticationError):
        client.ping()
    assert checkout.password != old
    assert not list(checkout.temporary.iterdir())


class TestOlderVersion:
    """A .env from an older version, with a TCP port and a password, and perhaps a server still running."""

    @pytest.fixture
    def foreign_socket(self) -> Iterator[socket.socket]:
        """Return a foreign socket that listens on the port of the older version's Redis."""
        with socket.create_server(("127.0.0.1", 0)) as foreign_socket:
            foreign_socket.setblocking(False)  # noqa: FBT003 - the name of it
            yield foreign_socket

    def test_foreign_server_is_not_contacted(self, checkout: Checkout, foreign_socket: socket.socket) -> None:
        """A foreign server on the old port is never contacted, and the other settings in .env still apply."""
        port = foreign_socket.getsockname()[1]
        checkout.env_file.write_text(f"PEPPER=kept\nREDIS_PORT={port}\nREDIS_PASSWORD=hush\nAUTH_REALM=a b\n")
        with checkout:
            assert 'realm="a b"' in checkout.auth("x").headers["www-authenticate"]
            assert checkout.auth(checkout.issue()).status == 200
            with pytest.raises(BlockingIOError):
                foreign_socket.accept()
            settings = checkout.env_file.read_text().splitlines()
        assert settings[:4] == [
            "PEPPER=kept",
            f"#REDIS_PORT={port}",
            "#REDIS_PASSWORD=hush",
            "AUTH_REALM=a b",
        ]

    @pytest.mark.parametrize("survives", [True, False], ids=["running", "ended"])
    def test_tokens(self, checkout: Checkout, *, survives: bool) -> None:
        """Tokens of an older version are kept, and its server is stopped first if it is still running."""
        checkout.data.mkdir()
        options = ["--dir", str(checkout.data), "--requirepass", "hush"]
        with OlderServer(checkout, options) as old:
            address = f"REDIS_PORT={old.port}\nREDIS_PASSWORD=hush\n"
            checkout.env_file.write_text(
                f"PEPPER=kept\nADMIN_USER=me\nADMIN_PASS=hush\nREDIS_DB=3\n{address}"
            )
            token = checkout.flask("create", "a.test")
            if not survives:
                old.stop()
            with checkout:
                assert checkout.auth(token).status == 200
                assert old.wait() == 0


class OlderServer(RedisServer):
    """A Redis server started the way an older version did."""

    def __init__(self, checkout: Checkout, options: list[str]) -> None:
        super().__init__(aof=True, options=options, binary=redis_binary())
        self._data = checkout.data

    def is_ready(self) -> bool:
        """Return whether the server answers, checked the way that version did."""
        with redis.Redis(port=self.port, password="hush", socket_timeout=1) as probe:
            return bool(probe.ping())


class TestOwner:
    """Data and secrets must belong to the user who runs the service."""

    def test_rights_of_others(self, checkout: Checkout) -> None:
        """A start removes others' rights to data and secrets, and warns if all may write to the checkout."""
        checkout.root.chmod(0o777)
        (checkout.data / "appendonlydir").mkdir(parents=True, mode=0o755)
        (checkout.data / "redis.log").touch(0o644)
        (checkout.data / "appendonlydir/old.aof").touch(0o666)
        checkout.data.chmod(0o777)
        checkout.env_file.write_text("ADMIN_USER=me\n")
        checkout.env_file.chmod(0o644)
        with checkout:
            assert modes(checkout.data) == {}
            assert modes(checkout.env_file) == {}
            assert "  User        me" in checkout.output
            assert f"chmod o-w {checkout.root}" in checkout.output

    @as_root
    @pytest.mark.parametrize("name", ["data", "data/redis.sock", "data/appendonlydir/x.aof", ".env"])
    def test_files_of_another_user(self, checkout: Checkout, name: str) -> None:
        """A file or directory that another user created beforehand is refused by name, and left unchanged."""
        path = checkout.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir() if name == "data" else path.touch()
        os.chown(path, OTHER_USER, OTHER_USER)
        before = path.stat()
        assert checkout.refusal().startswith(f"{path} belongs to another user (uid {OTHER_USER})")
        assert (path.stat().st_mode, path.stat().st_mtime_ns) == (before.st_mode, before.st_mtime_ns)

    @as_root
    def test_link_of_another(self, checkout: Checkout) -> None:
        """A symbolic link that belongs to another user is not followed."""
        (checkout.dir / "elsewhere").mkdir()
        checkout.data.symlink_to(checkout.dir / "elsewhere")
        os.chown(checkout.data, OTHER_USER, OTHER_USER, follow_symlinks=False)
        assert "belongs to another user" in checkout.refusal()
        assert not list((checkout.dir / "elsewhere").iterdir())

    def test_own_link(self, checkout: Checkout) -> None:
        """The data directory may be a symbolic link that belongs to the user."""
        (checkout.dir / "elsewhere").mkdir()
        checkout.data.symlink_to(checkout.dir / "elsewhere")
        with checkout:
            assert checkout.auth(checkout.issue()).status == 200
            assert modes(checkout.dir / "elsewhere") == {}


class TestDotenv:
    """.env is read literally, and only missing settings are added to it."""

    def test_literal(self, checkout: Checkout) -> None:
        """A dollar sign in .env is part of the value; nothing is expanded."""
        settings = "PEPPER=aa${HOME}bb\nADMIN_USER=${USER}x\nADMIN_PASS=${NOT_SET}\n"
        checkout.env_file.write_text(settings)
        with checkout:
            assert "  User        ${USER}x" in checkout.output
            assert checkout.env_file.read_text() == f"{settings}REDIS_URL_FILE=data/redis.url\n"
            assert checkout.page("${USER}x", "${NOT_SET}").status == 200

    def test_unreadable(self, checkout: Checkout) -> None:
        """A .env in an unsupported encoding is reported by name."""
        checkout.env_file.write_text("PEPPER=x\n", "utf-16")
        assert str(checkout.env_file) in checkout.refusal()


def test_another_redis(checkout: Checkout) -> None:
    """With REDIS_HOST or REDIS_URL no server is started, even if .env names the embedded one."""
    checkout.env_file.write_text("REDIS_URL_FILE=data/redis.url\n")
    with RedisServer() as server:  # a separate one, because other tests use other peppers
        checkout.env |= {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": str(server.port)}
        _runs_without(checkout)


def _runs_without(checkout: Checkout) -> None:
    with checkout:
        assert call(checkout.port, "/healthz").status == 200
        assert len(children(checkout.pid)) == 1
        assert not checkout.data.exists()


def test_environment(checkout: Checkout) -> None:
    """BIND opens the service to other machines; a port or password that belongs to no server is not used."""
    unused = {"REDIS_PORT": str(free_port()), "REDIS_PASSWORD": "hush"}
    checkout.env |= unused | {"BIND": f"0.0.0.0:{checkout.port}"}
    with checkout:
        assert "http://0.0.0.0" in checkout.output
        assert "REDIS_PASSWORD, REDIS_PORT: not used" in checkout.output
        assert checkout.auth(checkout.issue()).status == 200


def test_own_port(checkout: Checkout) -> None:
    """The port is bound before anything else starts, so no other process can take the service's place."""
    with suppress(RuntimeError):
        checkout.start_deadline_s = 0
        checkout.start()
    until((checkout.data / "redis.log").exists)
    with pytest.raises(OSError, match="in use"):
        socket.create_server(("127.0.0.1", checkout.port))
    until(checkout.is_ready, 60)


def test_port_in_use(checkout: Checkout) -> None:
    """A port that is in use is reported with a suggestion, and nothing is started."""
    with socket.create_server(("127.0.0.1", checkout.port)):
        assert f"PORT={checkout.port + 1} make run" in checkout.refusal()
    assert not (checkout.data / "redis.log").exists()


def test_interrupt_during_startup(checkout: Checkout) -> None:
    """Ctrl-C during startup stops everything, too."""
    with suppress(RuntimeError):
        checkout.start_deadline_s = 0
        checkout.start()
    until((checkout.data / "redis.log").exists)
    checkout.signal(signal.SIGINT)
    assert checkout.wait() == 0
    assert "Traceback" not in checkout.log
    assert not (checkout.data / "redis.sock").exists()
