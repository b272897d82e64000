"""Drills in which processes end: rolling restarts, stops, reloads, recycling and crashes."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack

from chaos.drill import Row, Setup, request, row
from devkit.http import Connection, bearer
from devkit.load import ClosedLoop
from devkit.tally import get
from devkit.traefik import Balancer
from devkit.waiting import seconds, until


def rolling(setup: Setup) -> Iterator[Row]:
    """Restart two replicas behind Traefik in turn."""
    yield _restart(setup, "replica leaves the pool, then SIGTERM", leave=True, retry=False)
    if not setup.quick:
        yield _restart(setup, "SIGTERM, then probes find out; retry: 2 attempts", leave=False, retry=True)
        yield _restart(setup, "SIGTERM, then probes find out; no retry", leave=False, retry=False)


def _restart(setup: Setup, how: str, *, leave: bool, retry: bool) -> Row:
    with setup.service(auth_realm="one") as one, setup.service(auth_realm="two") as two:
        ports, exits = [one.port, two.port], []
        client = get("/", "/", [("Host", "a.test"), *bearer(one.issue("a.test"))])
        with (
            Balancer(ports, setup.backend.port, retry=retry) as traefik,
            ClosedLoop(traefik.port, client, clients=10 if setup.quick else 50) as load,
        ):
            load.wait_for(200)
            for replica, other in ((one, two), (two, one)):
                if leave:
                    traefik.spread([other.port])
                    until(lambda: traefik.replicas() == 1)
                exits.append(seconds(replica.stop))
                replica.start()
                traefik.spread(ports)
                until(lambda: traefik.replicas() == 2)
    return row("R01", how, load, 0 if leave else 10**9, exit_s=max(exits))


def hung(setup: Setup) -> Iterator[Row]:
    """Stop the service while Redis hangs."""
    for lane in ("true", "false"):
        with setup.service(express_lane=lane, redis_deadline_ms=250) as service:
            with ClosedLoop(service.port, request(service), clients=20) as load, ExitStack() as after:
                load.wait_for(100)
                setup.redis.pause()
                after.callback(setup.redis.resume)
                time.sleep(0.3)
                exit_s = seconds(service.stop)
            broken = "the stop took eight seconds" if exit_s >= 8 else ""
        answers = Counter({what: n for what, n in load.tally.outcomes.items() if what.isdigit()})
        done = f"Redis is stopped, then SIGTERM, express lane {lane}"
        yield Row(
            "R03", done, answers, load.tally.slowest_s, exit_s, "refused connections not counted", 0, broken
        )


def idle(setup: Setup) -> Iterator[Row]:
    """Stop the service while 200 connections are idle."""
    for lane in ("true", "false"):
        with setup.service(express_lane=lane) as service, ExitStack() as stack:
            data = request(service).data
            answers = Counter[str]()
            for connection in [stack.enter_context(Connection(service.port)) for _ in range(200)]:
                connection.send(data)
                answers[str(connection.read().status)] += 1
            exit_s = seconds(service.stop)
        broken = "a stop waited for idle connections" if exit_s > 6 else ""
        yield Row("R02", f"SIGTERM with 200 idle connections, lane {lane}", answers, 0, exit_s, broken=broken)


def reload(setup: Setup) -> Iterator[Row]:
    """Reload the service again and again under load."""
    times = 3 if setup.quick else 10
    with setup.service() as service, ClosedLoop(service.port, request(service), clients=20) as load:
        for done in range(1, times + 1):
            service.signal(signal.SIGHUP)
            load.wait_for(200)
            until(lambda done=done: service.log.count("Worker exiting") >= 2 * done)  # type: ignore[misc]
    yield row("R04", f"HUP x {times}", load)


def recycle(setup: Setup) -> Iterator[Row]:
    """Replace workers after about 200 requests each, under load."""
    with setup.service("--max-requests 200 --max-requests-jitter 50") as service:
        with ClosedLoop(service.port, request(service), clients=20) as load:
            load.wait_for(2_000 if setup.quick else 20_000, 120)
        recycled = service.log.count("Autorestarting worker")
    yield row("R05", "max_requests 200 ± 50", load, noted=f"{recycled} workers ended")


def crash(setup: Setup) -> Iterator[Row]:
    """Kill one of two workers under load."""
    with setup.service() as service, ClosedLoop(service.port, request(service), clients=20) as load:
        load.wait_for(500)
        os.kill(service.workers[0], signal.SIGKILL)
        load.wait_for(1_000)
    yield row("R06", "kill -9 of one of two workers, 20 clients", load, 20)
