"""A distant Redis: the service connects although connecting takes longer than a decision may."""

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
from devkit.process import OUTSIDE
from devkit.redis_server import RedisServer
from devkit.relay import Relay
from devkit.sentinels import SERVICE, Sentinel
from devkit.service import Gunicorn
from devkit.waiting import until

pytestmark = pytest.mark.e2e

PASSWORD = "far:away"
ONE_WAY_S = 0.045  # one way; a round trip takes 90 ms of a decision's 250 ms


def far(target: int, one_way_s: float = ONE_WAY_S) -> Relay:
    """Return a relay to *target* that delays each direction by *one_way_s* seconds."""
    relay = Relay(target)
    relay.delay_s = one_way_s
    return relay


def with_password(server: RedisServer) -> RedisServer:
    """Require a password on *server*, and return it."""
    server.client().config_set("requirepass", PASSWORD)
    return server


def issue(service: Gunicorn) -> str:
    """Issue a token, retrying until the admin pages work."""
    secrets: list[str] = []

    def is_issued() -> bool:
        with suppress(AssertionError):
            secrets.append(service.issue("a.test"))
        return bool(secrets)

    until(is_issued)
    return secrets[0]


def is_steady(service: Gunicorn, token: str) -> bool:
    """Return whether ten decisions in a row meet the deadline."""
    return all(service.auth(token).status == 200 for _ in range(10))


@pytest.fixture(scope="module", name="certificate")
def _certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(name="relay")
def _relay(certificate: Certificate) -> Iterator[Relay]:
    """Run a distant server with TLS and a password."""
    port = free_port()
    with RedisServer(options=certificate.argv(port)) as server, far(port) as relay:
        with_password(server)
        yield relay


def service(relay: Relay, certificate: Certificate, **settings: object) -> Gunicorn:
    """Return a one-worker service that uses database 3 of the Redis behind *relay*."""
    login = {"redis_password": PASSWORD, "redis_db": 3}
    tls = {"redis_tls": "true", "redis_tls_ca_file": certificate.file}
    return Gunicorn(relay.port, web_concurrency=1, **{"redis_deadline_ms": 250} | login | tls | settings)


def test_connects_and_reconnects(relay: Relay, certificate: Certificate) -> None:
    """The service connects within seconds and reconnects after a loss; the log names the setting to raise."""
    with service(relay, certificate) as gunicorn:
        assert gunicorn.auth("x" * 20).status == 503
        assert "REDIS_DEADLINE_MS" in gunicorn.log
        token = issue(gunicorn)
        until(lambda: is_steady(gunicorn, token))
        until(lambda: gunicorn.page("/healthz").status == 200)
        relay.cut()

        until(lambda: is_steady(gunicorn, token))


def test_shell(relay: Relay, certificate: Certificate) -> None:
    """The flask command works with a distant Redis."""
    argv = [sys.executable, "-m", "flask", "--app", "wsgi", "tokens", "create", "a.test"]
    with service(relay, certificate) as gunicorn:
        secret = subprocess.check_output(argv, env=gunicorn.env, cwd=OUTSIDE, text=True, timeout=60).strip()
        until(lambda: is_steady(gunicorn, secret))


def test_forgotten_script(relay: Relay, certificate: Certificate) -> None:
    """After a script had to be sent in full, which costs a second round trip, the next decision succeeds."""
    relay.delay_s = 0.1
    with service(relay, certificate, redis_deadline_ms=350) as gunicorn:
        token = issue(gunicorn)
        until(lambda: is_steady(gunicorn, token))


def test_burst_opens_few_connections(relay: Relay, certificate: Certificate) -> None:
    """A burst of requests before the first connection exists opens no more connections than one request."""
    with service(relay, certificate) as gunicorn:
        began = relay.accepted
        until(lambda: 401 in hammer([gunicorn.port], [*bearer("x" * 20), *forwarded("a.test")], each=10))

        assert relay.accepted - began < 10


@pytest.mark.parametrize("one_way_s", [0.12, 0.3])
def test_round_trip_and_deadline(relay: Relay, certificate: Certificate, one_way_s: float) -> None:
    """A round trip within the deadline is enough; with a longer one, requests fail and the log says why."""
    relay.delay_s = one_way_s
    with service(relay, certificate, redis_deadline_ms=500) as gunicorn:
        if one_way_s < 0.2:
            token = issue(gunicorn)
            until(lambda: is_steady(gunicorn, token))
        else:
            statuses = {gunicorn.auth("x" * 20).status for _ in range(20)}
            assert statuses == {503}
            assert gunicorn.page("/healthz").status == 503
            assert "raise REDIS_DEADLINE_MS" in gunicorn.log


def test_old_pepper(relay: Relay, certificate: Certificate) -> None:
    """Moving a token to a new pepper takes extra round trips, and the token is soon allowed all the same."""
    with service(relay, certificate, pepper="the old pepper of this service") as old:
        token = issue(old)
    with service(relay, certificate, pepper_previous="the old pepper of this service") as gunicorn:
        until(lambda: is_steady(gunicorn, token))
    with service(relay, certificate) as new:
        until(lambda: is_steady(new, token))


def test_sentinels() -> None:
    """A distant primary is found through distant sentinels."""
    with ExitStack() as stack:
        primary = with_password(stack.enter_context(RedisServer()))
        relay = stack.enter_context(far(primary.port))
        line = f"sentinel auth-pass {SERVICE} {PASSWORD}"
        sentinels = [stack.enter_context(Sentinel(primary, relay.port, [line])) for _ in range(3)]
        ports = [stack.enter_context(far(sentinel.port)).port for sentinel in sentinels]
        url = f"redis+sentinel://:{PASSWORD.replace(':', '%3A')}@{_hosts(ports)}/{SERVICE}/3"
        gunicorn = stack.enter_context(
            Gunicorn(None, redis_url=url, web_concurrency=1, redis_deadline_ms=250)
        )

        token = issue(gunicorn)
        until(lambda: is_steady(gunicorn, token))
        relay.cut()
        until(lambda: is_steady(gunicorn, token))
        until(lambda: gunicorn.page("/healthz").status == 200)


def test_cluster(certificate: Certificate) -> None:
    """Every node of a distant cluster is reached."""
    with ExitStack() as stack:
        relays = [stack.enter_context(far(free_port())) for _ in range(3)]
        tls = [certificate.argv(relay._target) for relay in relays]
        announced = [["--cluster-announce-tls-port", f"{relay.port}"] for relay in relays]
        options = iter(
            [[*one, "--tls-cluster", "yes", *two] for one, two in zip(tls, announced, strict=True)]
        )
        stack.enter_context(Nodes(options=lambda: next(options)))
        url = f"rediss+cluster://{_hosts([relay.port for relay in relays])}"
        gunicorn = stack.enter_context(
            Gunicorn(
                None,
                redis_url=url,
                redis_tls_ca_file=certificate.file,
                web_concurrency=1,
                redis_deadline_ms=250,
            )
        )

        tokens = [issue(gunicorn) for _ in range(6)]
        until(lambda: all(gunicorn.auth(token).status == 200 for token in tokens))
        until(lambda: gunicorn.page("/healthz").status == 200)
        assert {gunicorn.auth(token).status for token in tokens} == {200}


def _hosts(ports: list[int]) -> str:
    return ",".join(f"127.0.0.1:{port}" for port in ports)
