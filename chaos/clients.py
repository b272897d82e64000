"""Drills of clients: slow, idle, many and hostile ones, and steady loads."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from chaos.drill import Row, Setup, request, row
from devkit.http import Connection, bearer
from devkit.load import ClosedLoop
from devkit.proc import cpu_us, open_files, rss_bytes, tcp_count
from devkit.service import BASIC
from devkit.tally import Exchange, Request, Tally, get
from devkit.traefik import Traefik

_HALF_HEAD = b"GET /auth HTTP/1.1\r\nHost: x\r\nX-Forwarded-"
_FORM = (
    f"POST /create_token HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\nAuthorization: {BASIC}\r\n\r\n"
).encode()
_ANY = Request("", b"")


@contextmanager
def _many(port: int, count: int, data: bytes) -> Iterator[None]:
    """Hold *count* connections open, each after sending *data*."""
    with ExitStack() as stack:
        for connection in [stack.enter_context(Connection(port)) for _ in range(count)]:
            connection.send(data)
        yield


def _timed(ask: Callable[[], int], count: int) -> Tally:
    """Call *ask*, which returns a status, *count* times in turn."""
    exchanges = []
    for _ in range(count):
        began = time.monotonic()
        status = ask()
        exchanges.append(Exchange(began, time.monotonic(), _ANY, status))
    return Tally(exchanges)


def _latencies(tally: Tally, alone: Tally) -> str:
    p50, p99 = (tally.percentile_ms(percent) for percent in (50, 99))
    quiet = " and ".join(f"{alone.percentile_ms(percent):.1f}" for percent in (50, 99))
    return f"p50 {p50:.1f} ms, p99 {p99:.1f} ms (alone {quiet})"


def slow(setup: Setup) -> Iterator[Row]:
    """Measure decisions beside many slow or idle connections."""
    many = 1_000 if setup.quick else 1_800
    with setup.service() as service:
        token = service.issue("a.test")
        ask: Callable[[], int] = lambda: service.auth(token).status  # noqa: E731
        alone = _timed(ask, 200)
        for name, kind, data, count in (
            ("R09", "half heads", _HALF_HEAD, many),
            ("R10", "slow forms of the operator's", _FORM, 200),
            ("R13", "idle", b"", many),
        ):
            with _many(service.port, count, data):
                tally = _timed(ask, 200)
            is_kept = set(tally.statuses) == {200} and tally.percentile_ms(98.5) < 1000
            broken, noted = "" if is_kept else "they delayed other requests", _latencies(tally, alone)
            yield Row(name, f"{count} x {kind}", tally.outcomes, tally.slowest_s, noted=noted, broken=broken)


def too_many(setup: Setup) -> Iterator[Row]:
    """Open more connections than two workers accept; the surplus waits for its turn."""
    with setup.service("--keep-alive 5") as service:
        token = service.issue("a.test")
        with _many(service.port, 5_000, b""):
            rss = sum(rss_bytes(pid) for pid in [service.pid, *service.workers])
            tally = _timed(lambda: service.auth(token).status, 3)
    noted = f"RSS of all {rss / 2**20:.0f} MiB; keep-alive 5 s ends the idle ones"
    yield Row("R13", "5 000 connections, 2 x 1 000 allowed", tally.outcomes, tally.slowest_s, noted=noted)


def pacing(setup: Setup) -> Iterator[Row]:
    """Send each request just when the idle connection is about to be closed (keep-alive 1 s)."""
    with (
        setup.service("--keep-alive 1") as service,
        Traefik(service.port, setup.backend.port) as traefik,
    ):
        token = service.issue("a.test")
        tally = Tally()
        for step in range(40):
            tally.exchanges += _timed(lambda: traefik.call(token).status, 1)
            time.sleep(max(0, 1 + (step % 11 - 5) / 1000 - tally.exchanges[-1].seconds))
    lost = tally.lost.total()
    broken = "a request was lost with the idle connection that it was sent on" if lost else ""
    done = "one request each second ± 5 ms at keep-alive 1 s, Traefik"
    yield Row("R08", done, tally.outcomes, tally.slowest_s, lost=lost, broken=broken)


def hostile(setup: Setup) -> Iterator[Row]:
    """Measure the CPU time of requests that are expensive to read."""
    inputs = {
        "host of 8 kB": [("X-Forwarded-Host", "a." * 4_000), ("Authorization", "Bearer x")],
        "token of 8 kB": [("X-Forwarded-Host", "a.test"), ("Authorization", f"Bearer {'a' * 8_100}")],
        "blanks": [("X-Forwarded-Host", "a.test"), ("Authorization", f"Bearer{' ' * 8_000}x!")],
        "dots and hyphens": [("X-Forwarded-Host", "-." * 120 + "xn--"), ("Authorization", "Bearer x")],
        "59 fields": [(f"X-{n}", "a" * 100) for n in range(57)],
    }
    with setup.service(web_concurrency=1, log_level="error") as service:
        worker = service.workers[0]
        for what, fields in inputs.items():
            with Connection(service.port) as connection:
                ask = lambda: connection.call("/auth", fields).status  # noqa: B023, E731
                began = cpu_us(worker)
                tally = _timed(ask, 500)
                each_ms = (cpu_us(worker) - began) / 500 / 1000
            broken = "" if each_ms < 2 else f"{what} cost {each_ms:.1f} ms"
            noted = f"{each_ms:.2f} ms of CPU each"
            yield Row("R15", what, tally.outcomes, tally.slowest_s, noted=noted, broken=broken)


def soak(setup: Setup) -> Iterator[Row]:
    """Measure memory and open files over a minute of load."""
    duration_s = 60
    with setup.service() as service, ClosedLoop(service.port, request(service), clients=8) as load:
        load.wait_for(2_000)
        before = [(rss_bytes(pid), open_files(pid)) for pid in service.workers]
        time.sleep(duration_s)
        after = [(rss_bytes(pid), open_files(pid)) for pid in service.workers]
    growth = 100 * (sum(rss for rss, _ in after) / sum(rss for rss, _ in before) - 1)
    files = f"{sum(n for _, n in before)} → {sum(n for _, n in after)}"
    result = row("R07", f"{duration_s} s of load", load, noted=f"RSS {growth:+.1f} %, files {files}")
    yield result._replace(broken=result.broken or ("memory grew" if growth > 5 else ""))


def new_connections(setup: Setup) -> Iterator[Row]:
    """Count the connections that Traefik opens under load."""
    with setup.service() as service, Traefik(service.port, setup.backend.port) as traefik:
        client = get("/", "/", [("Host", "a.test"), *bearer(service.issue("a.test"))])
        for clients in (2, 50):
            before = tcp_count("PassiveOpens")
            with ClosedLoop(traefik.port, client, clients=clients) as load:
                load.wait_for(3_000, 60)
            opened = tcp_count("PassiveOpens") - before - clients
            noted = f"{opened / len(load.tally):.2f} new connections each (those to the backend too)"
            yield row("R16", f"through Traefik, {clients} clients", load, noted=noted)
