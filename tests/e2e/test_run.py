"""``make run`` on a machine with other users: its Redis is this user's alone, and so is what it keeps."""

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
    """A copy of what ``make run`` runs, with data and secrets of its own; started, it serves."""

    name = "run"
    start_deadline_s = 60

    def __init__(self, place: str = "checkout", **env: str) -> None:
        super().__init__()
        self.dir.chmod(0o755)  # others may come this far
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
        """Start it, and remember what of the log is of this start."""
        self._read = len(self.log) if self.log_path.exists() else 0
        super().start()

    @property
    def said(self) -> str:
        """Return what it has printed since it was last started."""
        return self.log[self._read :]

    def is_ready(self) -> bool:
        """Tell whether it has said so."""
        return "Ctrl-C stops everything" in self.said

    def _descendants(self) -> dict[str, int]:
        return {comm(pid): pid for pid in children(self.pid)}

    @property
    def server(self) -> int:
        """Return the process id of its Redis."""
        return next(pid for name, pid in self._descendants().items() if re.search("redis|valkey", name))

    @property
    def service(self) -> int:
        """Return the process id of gunicorn."""
        return next(pid for pid in children(self.pid) if pid != self.server)

    @property
    def password(self) -> str:
        """Return that of its Redis."""
        return (self.data / "redis.url").read_text().partition("default:")[2].partition("@")[0]

    @property
    def admin_pass(self) -> str:
        """Return the password of the pages, which the first run wrote."""
        return self.env_file.read_text().partition("ADMIN_PASS=")[2].splitlines()[0]

    def page(self, user: str, password: str) -> Answer:
        """Open the first page."""
        basic = b64encode(f"{user}:{password}".encode()).decode()
        return call(self.port, "/", [("Authorization", f"Basic {basic}")])

    def client(self, password: str = "") -> redis.Redis:
        """Return a client of its Redis, with another password than the right one if that is given."""
        path = f"/proc/{self.pid}/cwd/data/redis.sock"  # short, wherever that is
        return redis.Redis(unix_socket_path=path, password=password or self.password)

    def flask(self, *args: str) -> str:
        """Run a command as in another shell, which has nothing of the environment but PATH."""
        command = [sys.executable, "-m", "flask", "--app", "wsgi", "tokens", *args]
        env = {"PATH": os.environ["PATH"]}
        return subprocess.run(
            command, env=env, cwd=self.root, check=True, capture_output=True, text=True, timeout=60
        ).stdout.strip()

    def issue(self) -> str:
        """Make a token for a.test and return its text."""
        return self.flask("create", "a.test")

    def auth(self, token: str) -> Answer:
        """Ask /auth as Traefik would."""
        return call(self.port, "/auth", [*forwarded("a.test"), *bearer(token)])

    def refusal(self) -> str:
        """Run it and return the one line that it ends with, since it can't go on."""
        run = subprocess.run(
            self.argv, env=self.env, cwd=self.dir, capture_output=True, text=True, timeout=60, check=False
        )
        assert run.returncode == 1, run.stderr
        assert "Traceback" not in run.stderr
        return run.stderr.strip()


def comm(pid: int) -> str:
    """Return the name that a process was started by."""
    return Path(f"/proc/{pid}/comm").read_text().strip()


def is_alive(pid: int) -> bool:
    """Tell whether a process runs."""
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
    """Return those of *paths* that another user of the machine gets something out of."""
    command = [sys.executable, str(INTRUDER), str(OTHER_USER), *map(str, paths)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    return [Path(line).name for line in run.stdout.splitlines()]


def modes(root: Path) -> dict[str, str]:
    """Return the names of all that others have a right to, each with its mode."""
    everything = [root, *root.rglob("*")]
    return {path.name: oct(path.stat().st_mode) for path in everything if path.stat().st_mode & 0o077}


@pytest.fixture
def checkout() -> Iterator[Checkout]:
    """Return a checkout that was not started."""
    made = Checkout()
    yield made
    made.__exit__()


@pytest.fixture(scope="module", name="running")
def _running() -> Iterator[Checkout]:
    with Checkout() as running:
        yield running


class TestRunning:
    """One run, seen from outside."""

    def test_no_port(self, running: Checkout) -> None:
        """Redis listens on no TCP port; the service on one, and only for this machine."""
        assert tcp_ports(running.server) == set()
        assert tcp_ports(running.service) == {running.port}

    @as_root
    def test_another_user(self, running: Checkout) -> None:
        """Another user can't enter the socket and can't read the data, their directory or the secrets."""
        data = running.data
        inside = [data / name for name in ("redis.sock", "redis.url", "redis.log", "lock", "appendonlydir")]
        assert all(path.exists() for path in inside)
        assert allowed(data, *inside, running.env_file, running.root / "wsgi.py") == ["wsgi.py"]

    def test_modes(self, running: Checkout) -> None:
        """Were the directory open, its files still would not be."""
        assert modes(running.data) == {}
        assert modes(running.env_file) == {}

    def test_password_unsaid(self, running: Checkout) -> None:
        """The password stands in one file, and in no list of processes, environment or log."""
        pids = [running.pid, *children(running.pid), *children(running.service)]
        seen = [Path(f"/proc/{pid}/{what}").read_bytes() for pid in pids for what in ("cmdline", "environ")]
        assert not any(running.password.encode() in text for text in seen)
        files = [path for path in running.root.rglob("*") if path.is_file()]
        holders = [path.name for path in files if running.password.encode() in path.read_bytes()]
        assert holders == ["redis.url"]
        assert running.password not in running.log

    def test_second_run(self, running: Checkout) -> None:
        """A second run in the same checkout says so, and takes nothing from the first."""
        token, server = running.issue(), running.server
        second = subprocess.run(
            running.argv, env=running.env, capture_output=True, text=True, timeout=60, check=False
        )
        assert (second.returncode, second.stdout) == (1, "")
        assert f"already runs in this checkout (process {running.pid})" in second.stderr
        assert (running.server, running.auth(token).status) == (server, 200)

    def test_no_advice(self, running: Checkout) -> None:
        """The first page does not advise what is so already."""
        page = running.page("admin", running.admin_pass).text
        assert "Tokens" in page
        assert "appendfsync" not in page

    def test_dead_server(self, running: Checkout) -> None:
        """A Redis that dies is started again, where only this user can, and has every token."""
        token, server = running.issue(), running.server
        os.kill(server, signal.SIGKILL)
        until(lambda: running.auth(token).status == 200 and running.server != server)
        assert tcp_ports(running.server) == set()


@pytest.mark.parametrize("place", [LONG, ODD, STRAY], ids=["long", "odd", "stray"])
def test_any_place(place: str) -> None:
    """It runs wherever the checkout is, however long or odd the name of that place, and so do commands."""
    with Checkout(place) as running:
        token = running.issue()
        assert running.auth(token).status == 200
        assert running.flask("list")
        assert not list(running.temporary.iterdir())


@pytest.mark.parametrize("own", ["", "Redis server v=6.2.14 sha=00000000:0 bits=64"], ids=["none", "old"])
def test_packaged_server(tmp_path: Path, own: str) -> None:
    """Where the machine has no Redis, or too old a one, the one that was installed along does the same."""
    if own:
        (tmp_path / "redis-server").write_text(f"#!/bin/sh\necho '{own}'\n")
        (tmp_path / "redis-server").chmod(0o755)
    with Checkout(PATH=str(tmp_path)) as running:
        assert running.auth(running.issue()).status == 200
        assert comm(running.server) == Path(valkey_binary()).name
        assert tcp_ports(running.server) == set()


def kill_run(run: Checkout) -> None:
    """Kill what ``make run`` is, so that it can't tell its children to end."""
    run.signal(signal.SIGKILL)
    run.wait()


def kill_all(run: Checkout) -> None:
    """Kill everything at once, as a crash of the machine does."""
    for pid in [run.pid, run.server, *children(run.service), run.service]:
        os.kill(pid, signal.SIGKILL)
    run.wait()


def kill_all_but_redis(run: Checkout) -> None:
    """Let a server survive its run, as it does where nothing ends a child with its parent."""
    run_server, others = run.server, [*children(run.service), run.service]
    os.kill(run_server, signal.SIGSTOP)
    for pid in [run.pid, *others]:
        os.kill(pid, signal.SIGKILL)
    run.wait()


def ended(number: signal.Signals) -> Callable[[Checkout], None]:
    """Return what ends a run in order, as Ctrl-C or an init system does."""

    def end(run: Checkout) -> None:
        everything = [run.server, run.service, *children(run.service)]
        run.signal(number)
        assert run.wait() == 0
        until(lambda: not any(map(is_alive, everything)))
        assert not (run.data / "redis.sock").exists()

    return end


def end_impatiently(run: Checkout) -> None:
    """Ask again and again, as somebody does who waits, or make beside an init system."""
    while run.is_alive:
        run.signal(signal.SIGTERM)
    assert run.wait() == 0
    assert "Traceback" not in run.said


ENDS: dict[str, Callable[[Checkout], None]] = {
    "ctrl-c": ended(signal.SIGINT),
    "sigterm": ended(signal.SIGTERM),
    "impatient": end_impatiently,
    "kill": kill_run,
    "crash": kill_all,
    "leftover": kill_all_but_redis,
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_next_start(checkout: Checkout, end: Callable[[Checkout], None]) -> None:
    """However a run ended, the next has its tokens, another password, one server and nothing left over."""
    checkout.start()
    admin = checkout.admin_pass
    assert f"  Password    {admin}" in checkout.said
    token, old, server = checkout.issue(), checkout.password, checkout.server
    end(checkout)
    checkout.start()
    assert checkout.auth(token).status == 200
    until(lambda: not is_alive(server))
    assert admin not in checkout.said
    with checkout.client(old) as client, pytest.raises(redis.AuthenticationError):
        client.ping()
    assert checkout.password != old
    assert not list(checkout.temporary.iterdir())


class TestOlderVersion:
    """What an older version left: a TCP port and its password in .env, and perhaps the server itself."""

    @pytest.fixture
    def stranger(self) -> Iterator[socket.socket]:
        """Return the socket of somebody who listens where that Redis did."""
        with socket.create_server(("127.0.0.1", 0)) as stranger:
            stranger.setblocking(False)  # noqa: FBT003 - the name of it
            yield stranger

    def test_stranger(self, checkout: Checkout, stranger: socket.socket) -> None:
        """Whoever listens on the port now is told nothing, not even called; what else .env says counts."""
        port = stranger.getsockname()[1]
        checkout.env_file.write_text(f"PEPPER=kept\nREDIS_PORT={port}\nREDIS_PASSWORD=hush\nAUTH_REALM=a b\n")
        with checkout:
            assert 'realm="a b"' in checkout.auth("x").headers["www-authenticate"]
            assert checkout.auth(checkout.issue()).status == 200
            with pytest.raises(BlockingIOError):
                stranger.accept()
            said = checkout.env_file.read_text().splitlines()
        assert said[:4] == ["PEPPER=kept", f"#REDIS_PORT={port}", "#REDIS_PASSWORD=hush", "AUTH_REALM=a b"]

    @pytest.mark.parametrize("survives", [True, False], ids=["running", "ended"])
    def test_tokens(self, checkout: Checkout, *, survives: bool) -> None:
        """The tokens of an older version are kept, and its server, if it still runs, is ended first."""
        checkout.data.mkdir()
        options = ["--dir", str(checkout.data), "--requirepass", "hush"]
        with Older(checkout, options) as old:
            address = f"REDIS_PORT={old.port}\nREDIS_PASSWORD=hush\n"
            checkout.env_file.write_text(
                f"PEPPER=kept\nADMIN_USER=me\nADMIN_PASS=hush\nREDIS_DB=3\n{address}"
            )
            token = checkout.issue()
            if not survives:
                old.stop()
            with checkout:
                assert checkout.auth(token).status == 200
                assert old.wait() == 0


class Older(RedisServer):
    """A Redis as an older version started it."""

    def __init__(self, checkout: Checkout, options: list[str]) -> None:
        super().__init__(aof=True, options=options, binary=redis_binary())
        self._data = checkout.data

    def is_ready(self) -> bool:
        """Tell whether it serves, by asking as that version did."""
        with redis.Redis(port=self.port, password="hush", socket_timeout=1) as probe:
            return bool(probe.ping())


class TestOwner:
    """What is kept belongs to one user, or is not used."""

    def test_tightened(self, checkout: Checkout) -> None:
        """Rights that others have to data and secrets are taken away at every start, from every file."""
        (checkout.data / "appendonlydir").mkdir(parents=True, mode=0o755)
        (checkout.data / "redis.log").touch(0o644)
        (checkout.data / "appendonlydir/old.aof").touch(0o666)
        checkout.data.chmod(0o777)
        checkout.env_file.write_text("ADMIN_USER=me\n")
        checkout.env_file.chmod(0o644)
        with checkout:
            assert modes(checkout.data) == {}
            assert modes(checkout.env_file) == {}
            assert "  User        me" in checkout.said

    @as_root
    @pytest.mark.parametrize("name", ["data", "data/redis.sock", "data/appendonlydir/x.aof", ".env"])
    def test_made_by_another(self, checkout: Checkout, name: str) -> None:
        """What another user put there beforehand is named and not used, nor changed."""
        place = checkout.root / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.mkdir() if name == "data" else place.touch()
        os.chown(place, OTHER_USER, OTHER_USER)
        before = place.stat()
        assert checkout.refusal().startswith(f"{place} belongs to another user (uid {OTHER_USER})")
        assert (place.stat().st_mode, place.stat().st_mtime_ns) == (before.st_mode, before.st_mtime_ns)

    @as_root
    def test_link_of_another(self, checkout: Checkout) -> None:
        """Nor is a link of theirs followed."""
        (checkout.dir / "elsewhere").mkdir()
        checkout.data.symlink_to(checkout.dir / "elsewhere")
        os.chown(checkout.data, OTHER_USER, OTHER_USER, follow_symlinks=False)
        assert "belongs to another user" in checkout.refusal()
        assert not list((checkout.dir / "elsewhere").iterdir())

    def test_link_of_ours(self, checkout: Checkout) -> None:
        """Data may be kept elsewhere, by a link of one's own."""
        (checkout.dir / "elsewhere").mkdir()
        checkout.data.symlink_to(checkout.dir / "elsewhere")
        with checkout:
            assert checkout.auth(checkout.issue()).status == 200
            assert modes(checkout.dir / "elsewhere") == {}

    def test_open_to_all(self, checkout: Checkout) -> None:
        """A checkout that every user may change is said to be one."""
        checkout.root.chmod(0o777)
        with checkout:
            assert f"chmod o-w {checkout.root}" in checkout.said


class TestDotenv:
    """.env is read to the letter, and written only where something is missing."""

    def test_literal(self, checkout: Checkout) -> None:
        """What looks like a variable is part of the secret: nothing is put in its place."""
        text = "PEPPER=aa${HOME}bb\nADMIN_USER=${USER}x\nADMIN_PASS=${NOT_SET}\n"
        checkout.env_file.write_text(text)
        with checkout:
            assert "  User        ${USER}x" in checkout.said
            assert checkout.env_file.read_text() == f"{text}REDIS_URL_FILE=data/redis.url\n"
            assert checkout.page("${USER}x", "${NOT_SET}").status == 200

    def test_unreadable(self, checkout: Checkout) -> None:
        """A .env in another encoding is named."""
        checkout.env_file.write_text("PEPPER=x\n", "utf-16")
        assert str(checkout.env_file) in checkout.refusal()


def test_another_redis(checkout: Checkout) -> None:
    """With REDIS_HOST or REDIS_URL no server is started, though .env still knows the embedded one."""
    checkout.env_file.write_text("REDIS_URL_FILE=data/redis.url\n")
    with RedisServer() as server:  # of its own: the peppers of other tests are not this one's
        checkout.env |= {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": str(server.port)}
        _runs_without(checkout)


def _runs_without(checkout: Checkout) -> None:
    with checkout:
        assert call(checkout.port, "/healthz").status == 200
        assert len(children(checkout.pid)) == 1
        assert not checkout.data.exists()


def test_unused_setting(checkout: Checkout) -> None:
    """A port or a password that is given for no server is said to be unused, and used for none."""
    checkout.env |= {"REDIS_PORT": str(free_port()), "REDIS_PASSWORD": "hush"}
    with checkout:
        assert "REDIS_PASSWORD, REDIS_PORT: not used" in checkout.said
        assert checkout.auth(checkout.issue()).status == 200


def test_own_port(checkout: Checkout) -> None:
    """Before anything is started the port is this run's: nobody can slip in and be taken for the service."""
    with suppress(RuntimeError):
        checkout.start_deadline_s = 0
        checkout.start()
    until((checkout.data / "redis.log").exists)
    with pytest.raises(OSError, match="in use"):
        socket.create_server(("127.0.0.1", checkout.port))
    until(checkout.is_ready, 60)


def test_port_in_use(checkout: Checkout) -> None:
    """A port that somebody has is said to be in use, and nothing is started."""
    with socket.create_server(("127.0.0.1", checkout.port)):
        assert f"PORT={checkout.port + 1} make run" in checkout.refusal()
    assert not (checkout.data / "redis.log").exists()


def test_bind(checkout: Checkout) -> None:
    """BIND opens it to other machines."""
    checkout.env["BIND"] = f"0.0.0.0:{checkout.port}"
    with checkout:
        assert "http://0.0.0.0" in checkout.said


def test_early_end(checkout: Checkout) -> None:
    """Ctrl-C before anything serves ends all of it as well."""
    with suppress(RuntimeError):
        checkout.start_deadline_s = 0
        checkout.start()
    until((checkout.data / "redis.log").exists)
    checkout.signal(signal.SIGINT)
    assert checkout.wait() == 0
    assert "Traceback" not in checkout.log
    assert not (checkout.data / "redis.sock").exists()
