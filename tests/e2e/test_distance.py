"""A Redis far away: connecting takes longer than a decision may, and is done all the same."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from devkit.certificate import Certificate
from devkit.cluster import Nodes
from devkit.http import bearer, forwarded
from devkit.load import hammer
from devkit.ports import free_port
from devkit.process import ROOT
from devkit.redis_server import RedisServer
from devkit.relay import Relay
from devkit.sentinels import SERVICE, Sentinel
from devkit.service import Gunicorn
from devkit.waiting import until

pytestmark = pytest.mark.e2e

PASSWORD = "far:away"
WAY_S = 0.045  # each way, so that a round trip takes 90 ms of the 250 that a decision has


def far(target: int, way_s: float = WAY_S) -> Relay:
    """Return a relay to *target* over a long way."""
    relay = Relay(target)
    relay.delay_s = way_s
    return relay


def locked(server: RedisServer) -> RedisServer:
    """Return *server*, which wants a password from now on."""
    server.client().config_set("requirepass", PASSWORD)
    return server


def issue(service: Gunicorn) -> str:
    """Make a token as soon as the pages can."""
    made: list[str] = []

    def is_made() -> bool:
        with suppress(AssertionError):
            made.append(service.issue("a.test"))
        return bool(made)

    until(is_made)
    return made[0]


def is_steady(service: Gunicorn, token: str) -> bool:
    """Tell whether ten decisions in a row come in time."""
    return all(service.auth(token).status == 200 for _ in range(10))


@pytest.fixture(scope="module", name="certificate")
def _certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(name="relay")
def _relay(certificate: Certificate) -> Iterator[Relay]:
    """Run a server with TLS and a password, far away."""
    port = free_port()
    with RedisServer(options=certificate.argv(port)) as server, far(port) as relay:
        locked(server)
        yield relay


def service(relay: Relay, certificate: Certificate, **settings: object) -> Gunicorn:
    """Return a service of one worker that reaches its Redis, database 3, over *relay*."""
    login = {"redis_password": PASSWORD, "redis_db": 3}
    tls = {"redis_tls": "true", "redis_tls_ca_file": certificate.file}
    return Gunicorn(relay.port, web_concurrency=1, **{"redis_deadline_ms": 250} | login | tls | settings)


def test_reached(relay: Relay, certificate: Certificate) -> None:
    """It is reached within seconds, and again after it was lost; the log says which setting is too short."""
    with service(relay, certificate) as own:
        assert own.auth("x" * 20).status == 503
        assert "REDIS_DEADLINE_MS" in own.log
        token = issue(own)
        until(lambda: is_steady(own, token))
        until(lambda: own.page("/healthz").status == 200)
        relay.cut()

        until(lambda: is_steady(own, token))


def test_shell(relay: Relay, certificate: Certificate) -> None:
    """A command of the shell reaches it too."""
    argv = [sys.executable, "-m", "flask", "--app", "wsgi", "tokens", "create", "a.test"]
    with service(relay, certificate) as own:
        text = subprocess.check_output(argv, env=own.env, cwd=ROOT, text=True, timeout=60).strip()
        until(lambda: is_steady(own, text))


def test_forgotten_script(relay: Relay, certificate: Certificate) -> None:
    """A script that has to be sent whole, one round trip more, is there for the next decision."""
    relay.delay_s = 0.1
    with service(relay, certificate, redis_deadline_ms=350) as own:
        token = issue(own)
        until(lambda: is_steady(own, token))


def test_crowd(relay: Relay, certificate: Certificate) -> None:
    """A crowd that comes before there is a connection makes no more of them than one does."""
    with service(relay, certificate) as own:
        began = relay.accepted
        until(lambda: 401 in hammer([own.port], [*bearer("x" * 20), *forwarded("a.test")], each=10))

        assert relay.accepted - began < 10


@pytest.mark.parametrize("way_s", [0.12, 0.3])
def test_longer_ways(relay: Relay, certificate: Certificate, way_s: float) -> None:
    """A round trip that fits into the deadline is enough; one that does not never is, says the log."""
    relay.delay_s = way_s
    with service(relay, certificate, redis_deadline_ms=500) as own:
        if way_s < 0.2:
            token = issue(own)
            until(lambda: is_steady(own, token))
        else:
            statuses = {own.auth("x" * 20).status for _ in range(20)}
            assert statuses == {503}
            assert own.page("/healthz").status == 503
            assert "raise REDIS_DEADLINE_MS" in own.log


def test_old_pepper(relay: Relay, certificate: Certificate) -> None:
    """A token that has to move to a new pepper first, some more round trips, does not wait for that."""
    with service(relay, certificate, pepper="the old pepper of this service") as old:
        token = issue(old)
    with service(relay, certificate, pepper_previous="the old pepper of this service") as own:
        until(lambda: is_steady(own, token))
    with service(relay, certificate) as new:
        until(lambda: is_steady(new, token))


def test_sentinels() -> None:
    """So is a primary that sentinels as far away name."""
    with ExitStack() as stack:
        primary = locked(stack.enter_context(RedisServer()))
        relay = stack.enter_context(far(primary.port))
        line = f"sentinel auth-pass {SERVICE} {PASSWORD}"
        sentinels = [stack.enter_context(Sentinel(primary, relay.port, [line])) for _ in range(3)]
        ports = [stack.enter_context(far(sentinel.port)).port for sentinel in sentinels]
        url = f"redis+sentinel://:{PASSWORD.replace(':', '%3A')}@{_hosts(ports)}/{SERVICE}/3"
        own = stack.enter_context(Gunicorn(None, redis_url=url, web_concurrency=1, redis_deadline_ms=250))

        token = issue(own)
        until(lambda: is_steady(own, token))
        relay.cut()
        until(lambda: is_steady(own, token))
        until(lambda: own.page("/healthz").status == 200)


def test_cluster(certificate: Certificate) -> None:
    """So is each node of a Cluster."""
    with ExitStack() as stack:
        relays = [stack.enter_context(far(free_port())) for _ in range(3)]
        tls = [certificate.argv(relay._target) for relay in relays]
        announced = [["--cluster-announce-tls-port", f"{relay.port}"] for relay in relays]
        options = iter(
            [[*one, "--tls-cluster", "yes", *two] for one, two in zip(tls, announced, strict=True)]
        )
        stack.enter_context(Nodes(options=lambda: next(options)))
        url = f"rediss+cluster://{_hosts([relay.port for relay in relays])}"
        own = stack.enter_context(
            Gunicorn(
                None,
                redis_url=url,
                redis_tls_ca_file=certificate.file,
                web_concurrency=1,
                redis_deadline_ms=250,
            )
        )

        tokens = [issue(own) for _ in range(6)]
        until(lambda: all(own.auth(token).status == 200 for token in tokens))
        until(lambda: own.page("/healthz").status == 200)
        assert {own.auth(token).status for token in tokens} == {200}


def _hosts(ports: list[int]) -> str:
    return ",".join(f"127.0.0.1:{port}" for port in ports)
