"""R: deploys, recycling, crashes, slow clients and crowds."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from chaos.report import Table
from devkit.backend import Backend
from devkit.http import Connection, Headers, bearer, forwarded
from devkit.load import Load
from devkit.redis_server import RedisServer
from devkit.service import BASIC, Gunicorn
from devkit.traefik import Balancer, Traefik

COLUMNS = ("", "what is done", "requests", "answers", "lost", "slowest", "exit", "noted")
_HALF_HEAD = b"GET /auth HTTP/1.1\r\nHost: x\r\nX-Forwarded-"


class Row(NamedTuple):
    """What one drill did; *broken* names the promise that did not hold."""

    name: str
    done: str
    answers: Counter[str]
    slowest_s: float
    exit_s: float | None = None
    noted: str = ""
    lost: int = 0
    broken: str = ""

    def cells(self) -> tuple[str, ...]:
        """Return the row as text."""
        answers = ", ".join(f"{count} x {what}" for what, count in sorted(self.answers.items()))
        left = "" if self.exit_s is None else f"{self.exit_s:.1f} s"
        slowest = f"{1000 * self.slowest_s:.0f} ms"
        total = self.answers.total()
        return self.name, self.done, f"{total}", answers, f"{self.lost}", slowest, left, self.noted


class Place(NamedTuple):
    """What all drills share: a Redis, a backend and how short to be."""

    redis: RedisServer
    backend: Backend
    quick: bool

    def service(self, *arguments: str, **settings: object) -> Gunicorn:
        """Return a service of two workers, not yet started, with *arguments* to gunicorn."""
        # Time is another drill's matter: on a busy machine a decision may take longer than usual.
        common = {"web_concurrency": 2, "rate_limit_max": 0, "redis_deadline_ms": 5_000}
        extra = {"gunicorn_cmd_args": " ".join(arguments)} if arguments else {}
        return Gunicorn(self.redis.port, **(common | extra | settings))


def tables(quick: bool) -> list[Table]:  # noqa: FBT001
    """Run all drills and return one table."""
    drills = _QUICK if quick else _QUICK + _FULL
    with RedisServer() as redis, Backend() as backend:
        rows = [row for drill in drills for row in drill(Place(redis, backend, quick))]
    failures = [f"{row.name}: {row.broken}" for row in rows if row.broken]
    return [Table("Deploys, recycling, slow clients", COLUMNS, [row.cells() for row in rows], failures)]


def _asking(service: Gunicorn) -> Headers:
    return [*forwarded("a.test"), *bearer(service.issue("a.test"))]


def _until(is_so: Callable[[], bool], wait_s: float = 30) -> bool:
    end = time.monotonic() + wait_s
    while not (so := is_so()) and time.monotonic() < end:
        time.sleep(0.02)
    return so


def _seconds(do: Callable[[], object]) -> float:
    began = time.monotonic()
    do()
    return time.monotonic() - began


def _row(name: str, done: str, load: Load, allowed: int = 0, **more: object) -> Row:
    """Return the row of a drill in which no more than *allowed* requests may be lost."""
    lost = sum(load.lost.values())
    broken = f"{lost} requests were lost ({load.lost})" if lost > allowed else ""
    return Row(name, done, load.answers, load.slowest_s, lost=lost, broken=broken, **more)  # type: ignore[arg-type]


def _rolling(place: Place) -> Iterator[Row]:
    yield _restart(place, "replica leaves the pool, then SIGTERM", leave=True, retry=False)
    if not place.quick:
        yield _restart(place, "SIGTERM, then probes find out; retry: 2 attempts", leave=False, retry=True)
        yield _restart(place, "SIGTERM, then probes find out; no retry", leave=False, retry=False)


def _restart(place: Place, how: str, *, leave: bool, retry: bool) -> Row:
    with place.service(auth_realm="one") as one, place.service(auth_realm="two") as two:
        ports, exits = [one.port, two.port], []
        client = [("Host", "a.test"), *bearer(one.issue("a.test"))]
        with (
            Balancer(ports, place.backend.port, retry=retry) as traefik,
            Load(traefik.port, client, 10 if place.quick else 50) as load,
        ):
            load.wait_for(200)
            for replica, other in ((one, two), (two, one)):
                if leave:
                    traefik.spread([other.port])
                    _until(lambda: traefik.replicas() == 1)
                exits.append(_seconds(replica.stop))
                replica.start()
                traefik.spread(ports)
                _until(lambda: traefik.replicas() == 2)
    return _row("R01", how, load, 0 if leave else 10**9, exit_s=max(exits))


def _hung(place: Place) -> Iterator[Row]:
    for lane in ("true", "false"):
        with place.service(express_lane=lane, redis_deadline_ms=250) as service:
            with Load(service.port, _asking(service), 20) as load, ExitStack() as after:
                load.wait_for(100)
                place.redis.pause()
                after.callback(place.redis.resume)
                time.sleep(0.3)
                exit_s = _seconds(service.stop)
            broken = "the stop took eight seconds" if exit_s >= 8 else ""
        answered = Counter({what: n for what, n in load.answers.items() if what.isdigit()})
        done = f"Redis is stopped, then SIGTERM, express lane {lane}"
        yield Row("R03", done, answered, load.slowest_s, exit_s, "refused connections not counted", 0, broken)


def _idle(place: Place) -> Iterator[Row]:
    for lane in ("true", "false"):
        with place.service(express_lane=lane) as service, ExitStack() as stack:
            asking = _asking(service)
            known = [stack.enter_context(Connection(service.port)) for _ in range(200)]
            answers = Counter(str(connection.call("/auth", asking).status) for connection in known)
            exit_s = _seconds(service.stop)
        broken = "a stop waited for idle connections" if exit_s > 6 else ""
        yield Row("R02", f"SIGTERM with 200 idle connections, lane {lane}", answers, 0, exit_s, broken=broken)


def _reload(place: Place) -> Iterator[Row]:
    times = 3 if place.quick else 10
    with place.service() as service, Load(service.port, _asking(service), 20) as load:
        for done in range(1, times + 1):
            service.signal(signal.SIGHUP)
            load.wait_for(200)
            _until(lambda done=done: service.log.count("Worker exiting") >= 2 * done)  # type: ignore[misc]
    yield _row("R04", f"HUP x {times}", load)


def _recycle(place: Place) -> Iterator[Row]:
    with place.service("--max-requests 200 --max-requests-jitter 50") as service:
        with Load(service.port, _asking(service), 20) as load:
            load.wait_for(2_000 if place.quick else 20_000, 120)
        recycled = service.log.count("Autorestarting worker")
    yield _row("R05", "max_requests 200 ± 50", load, noted=f"{recycled} workers ended")


def _crash(place: Place) -> Iterator[Row]:
    with place.service() as service, Load(service.port, _asking(service), 20) as load:
        load.wait_for(500)
        os.kill(service.workers[0], signal.SIGKILL)
        load.wait_for(1_000)
    yield _row("R06", "kill -9 of one of two workers, 20 clients", load, 20)


@contextmanager
def _crowd(port: int, count: int, said: bytes) -> Iterator[list[Connection]]:
    with ExitStack() as stack:
        connections = [stack.enter_context(Connection(port)) for _ in range(count)]
        for connection in connections:
            if said:
                connection.send(said)
        yield connections


def _times(ask: Callable[[], int], count: int) -> tuple[Counter[str], list[float]]:
    answers, times = Counter[str](), []
    for _ in range(count):
        began = time.monotonic()
        answers[str(ask())] += 1
        times.append(time.monotonic() - began)
    return answers, sorted(times)


def _noted(times: list[float], before: list[float]) -> str:
    p50, p99 = times[len(times) // 2], times[len(times) * 99 // 100]
    return (
        f"p50 {1000 * p50:.1f} ms, p99 {1000 * p99:.1f} ms (alone {1000 * before[len(before) // 2]:.1f} and "
        f"{1000 * before[len(before) * 99 // 100]:.1f})"
    )


def _slow(place: Place) -> Iterator[Row]:
    form = f"POST /create_token HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\nAuthorization: {BASIC}\r\n\r\n"
    many = 1_000 if place.quick else 1_800
    sorts = [
        ("R09", "half heads", _HALF_HEAD, many),
        ("R10", "slow forms of the operator's", form.encode(), 200),
        ("R13", "idle", b"", many),
    ]
    with place.service() as service:
        token = service.issue("a.test")
        ask: Callable[[], int] = lambda: service.auth(token).status  # noqa: E731
        _, before = _times(ask, 200)
        for name, sort, said, count in sorts:
            with _crowd(service.port, count, said):
                answers, times = _times(ask, 200)
            broken = "" if set(answers) == {"200"} and times[-3] < 1 else "a crowd delayed others"
            yield Row(name, f"{count} x {sort}", answers, times[-1], None, _noted(times, before), 0, broken)


def _overcrowd(place: Place) -> Iterator[Row]:
    """More connections than two workers take: the surplus waits, and gets its turn."""
    with place.service("--keep-alive 5") as service:
        token = service.issue("a.test")
        with _crowd(service.port, 5_000, b""):
            rss = sum(_rss_kb(pid) for pid in [service.pid, *service.workers])
            answers, times = _times(lambda: service.auth(token).status, 3)
    noted = f"RSS of all {rss / 1024:.0f} MiB; keep-alive 5 s ends the idle ones"
    yield Row("R13", "5 000 connections, 2 x 1 000 allowed", answers, times[-1], None, noted)


def _rss_kb(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


def _pacing(place: Place) -> Iterator[Row]:
    """Ask now and then, right when the kept connection is about to be closed (keep-alive 1 s)."""
    with (
        place.service("--keep-alive 1") as service,
        Traefik(service.port, place.backend.port) as traefik,
    ):
        token = service.issue("a.test")
        answers, times = Counter[str](), []
        for step in range(40):
            began = time.monotonic()
            answers[str(traefik.call(token).status)] += 1
            times.append(time.monotonic() - began)
            time.sleep(max(0, 1 + (step % 11 - 5) / 1000 - times[-1]))
    broken = "" if set(answers) == {"200"} else "a kept connection that ended cost a request"
    lost = answers.total() - answers["200"]
    yield Row(
        "R08",
        "one request each second ± 5 ms at keep-alive 1 s, Traefik",
        answers,
        max(times),
        None,
        "",
        lost,
        broken,
    )


def _soak(place: Place) -> Iterator[Row]:
    duration_s = 60
    with place.service() as service, Load(service.port, _asking(service), 8) as load:
        load.wait_for(2_000)
        before = [(_rss_kb(pid), _files(pid)) for pid in service.workers]
        time.sleep(duration_s)
        after = [(_rss_kb(pid), _files(pid)) for pid in service.workers]
    growth = 100 * (sum(rss for rss, _ in after) / sum(rss for rss, _ in before) - 1)
    files = f"{sum(n for _, n in before)} → {sum(n for _, n in after)}"
    row = _row("R07", f"{duration_s} s of load", load, noted=f"RSS {growth:+.1f} %, files {files}")
    yield row._replace(broken=row.broken or ("memory grew" if growth > 5 else ""))


def _files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def _hostile(place: Place) -> Iterator[Row]:
    inputs = {
        "host of 8 kB": [("X-Forwarded-Host", "a." * 4_000), ("Authorization", "Bearer x")],
        "token of 8 kB": [("X-Forwarded-Host", "a.test"), ("Authorization", f"Bearer {'a' * 8_100}")],
        "blanks": [("X-Forwarded-Host", "a.test"), ("Authorization", f"Bearer{' ' * 8_000}x!")],
        "dots and hyphens": [("X-Forwarded-Host", "-." * 120 + "xn--"), ("Authorization", "Bearer x")],
        "59 fields": [(f"X-{n}", "a" * 100) for n in range(57)],
    }
    with place.service(web_concurrency=1, log_level="error") as service:
        worker = service.workers[0]
        for what, fields in inputs.items():
            with Connection(service.port) as connection:
                ask = lambda: connection.call("/auth", fields).status  # noqa: B023, E731
                began = _cpu_s(worker)
                answers, times = _times(ask, 500)
                each_ms = 1000 * (_cpu_s(worker) - began) / 500
            broken = "" if each_ms < 2 else f"{what} cost {each_ms:.1f} ms"
            yield Row("R15", what, answers, times[-1], None, f"{each_ms:.2f} ms of CPU each", 0, broken)


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _dials(place: Place) -> Iterator[Row]:
    with place.service() as service, Traefik(service.port, place.backend.port) as traefik:
        client = [("Host", "a.test"), *bearer(service.issue("a.test"))]
        for clients in (2, 50):
            before = _passive_opens()
            with Load(traefik.port, client, clients) as load:
                load.wait_for(3_000, 60)
            dialed = _passive_opens() - before - clients
            noted = f"{dialed / load.answers.total():.2f} new connections each (those to the backend too)"
            yield _row("R16", f"through Traefik, {clients} clients", load, noted=noted)


def _passive_opens() -> int:
    """Return how many connections this machine has accepted so far."""
    names, values = (
        line.split() for line in Path("/proc/net/snmp").read_text().splitlines() if line[:4] == "Tcp:"
    )
    return int(values[names.index("PassiveOpens")])


_QUICK: list[Callable[[Place], Iterator[Row]]] = [_rolling, _idle, _hung, _reload, _recycle, _crash, _slow]
_FULL: list[Callable[[Place], Iterator[Row]]] = [_overcrowd, _pacing, _hostile, _dials, _soak]
