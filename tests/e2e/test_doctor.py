"""``flask doctor --url`` finds each fault that is planted in a real proxy, and nothing in what ships."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator

import pytest
from flask import Flask

from app import create_app
from app.cli.doctor import visits
from app.cli.doctor.entrance import Entrance
from app.cli.doctor.prober import Prober
from app.cli.doctor.visits import Door, Url
from app.cli.doctor.wallet import Wallet
from app.core.errors import StoreUnavailableError
from app.core.findings import EXIT_STATUS, Severity
from app.core.registry import Registry
from app.services import services_of
from app.settings import Settings
from devkit.backend import Backend, EchoHandler, Seen
from devkit.builders import ACTOR
from devkit.faulty_traefik import FAULTS, FaultyTraefik
from devkit.ports import free_port
from devkit.proxies import HOST, Caddy, Change, Nginx, Proxy, unchanged
from devkit.redis_server import RedisServer, shipped_redis
from devkit.service import Gunicorn

pytestmark = pytest.mark.e2e

SECRET = re.compile(r"acl_[0-9A-Za-z]{38}")
# The lines of nginx's location /_auth without which a client writes a header of the sub-request.
BELIEVING = r" *proxy_pass_request_headers off;\n| *proxy_set_header X-Forwarded-{} \S+;\n"
# What is found at the host with each fault.
FOUND: dict[str, set[str]] = {
    "safe": set(),
    "admin": set(),
    "trusts-only-forwarded": set(),
    "insecure-only": set(),
    "rejects-aliases": set(),
    "quiet": {"entrance-blind"},
    "forged": {"entrance-forged-host", "entrance-forged-path"},
    "forged-quiet": {"entrance-forged-host", "entrance-forged-path", "entrance-blind"},
    "raw": {"entrance-token-forwarded"},
    "identity": {"entrance-forged-identity"},
    "aliases": {"entrance-forged-alias"},
    "any": {"entrance-any-host"},
    "any-quiet": {"entrance-any-host", "entrance-blind"},
    "any-open": {"entrance-any-host-open"},
    "any-open-quiet": {"entrance-any-host-open", "entrance-blind"},
    "any-admin": {"entrance-service-any-host", "entrance-public-metrics", "entrance-public-auth"},
    "any-metrics": {"entrance-public-metrics"},
    "open": {"entrance-unprotected"},
    "public-admin": {"entrance-public-auth", "entrance-public-metrics", "entrance-public-probe"},
    "public-auth": {"entrance-public-auth"},
    "public-metrics": {"entrance-public-metrics"},
    "public-probe": {"entrance-public-probe"},
    "public-api": {"entrance-public-admin"},
    "open-method": {"entrance-open-method"},
    "open-path": {"entrance-open-path"},
    "wrong-address": {"entrance-wrong-address"},
    "nobody-home": {"entrance-failing"},
    "no-credential": {"entrance-token-refused"},
    "redirects": {"entrance-redirects"},
    "tls": {"entrance-certificate"},
}


class _Quiet(EchoHandler):
    def answer(self, seen: Seen) -> None:
        self.server.seen.append(seen)
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")


@pytest.fixture(scope="module", name="shipped")
def _shipped() -> Iterator[RedisServer]:
    """Run Redis as docker-compose.yml does."""
    with RedisServer(options=shipped_redis()) as server:
        yield server


@pytest.fixture(scope="module", name="service")
def _service(shipped: RedisServer) -> Iterator[Gunicorn]:
    with Gunicorn(shipped.port, web_concurrency=1, trusted_proxies="private") as service:
        yield service


@pytest.fixture(scope="module", name="traefik")
def _traefik(service: Gunicorn, echo: Backend) -> Iterator[FaultyTraefik]:
    with Backend(_Quiet) as quiet, FaultyTraefik(service.port, echo.port, quiet.port) as traefik:
        yield traefik


def app_of(service: Gunicorn, **more: object) -> Flask:
    """Return an app with the settings of *service*, as a shell beside it has, changed by *more*."""
    changes = {name.upper(): str(value) for name, value in more.items()}
    return create_app(Settings.from_environ(service.env | changes))


def diagnose(app: Flask, *args: str) -> set[str]:
    """Run doctor, check its exit status, and return the findings about the entrance."""
    done = app.test_cli_runner().invoke(args=["doctor", "--json", *args])
    found = json.loads(done.stdout)
    assert done.exit_code == max((EXIT_STATUS[Severity(one["severity"])] for one in found), default=0)
    assert not SECRET.search(done.output)
    return {one["id"] for one in found if one["area"] == "entrance"}


@pytest.mark.parametrize("fault", FAULTS)
def test_traefik(service: Gunicorn, traefik: FaultyTraefik, shipped: RedisServer, fault: str) -> None:
    """Each fault that is planted in Traefik is found, nothing else is, and no token is left behind."""
    assert diagnose(app_of(service), "--url", traefik.url(fault)) == FOUND[fault]
    assert list(shipped.client().scan_iter(match="tokens:*")) == []


@pytest.mark.parametrize("path", ["/deep/page?x=1", "/ü", "/a%20b"])
def test_paths(service: Gunicorn, traefik: FaultyTraefik, path: str) -> None:
    """An address may have a path and a query."""
    assert diagnose(app_of(service), "--url", traefik.url("safe", path)) == set()


def test_unknown_host(service: Gunicorn, traefik: FaultyTraefik) -> None:
    """A host without a router may be one that was mistyped."""
    url = traefik.url("safe").replace("safe", "mistyped")
    assert diagnose(app_of(service), "--url", url) == {"entrance-not-found"}


def test_names_of_headers(service: Gunicorn, traefik: FaultyTraefik) -> None:
    """A finding names each header that arrives as the client sent it."""
    done = app_of(service).test_cli_runner().invoke(args=["doctor", "--url", traefik.url("aliases")])

    assert {"X_Auth_Token_Id", "X.Auth.Email"} <= set(re.findall(r"[\w.]+", done.stdout))


def test_few_requests(service: Gunicorn, traefik: FaultyTraefik) -> None:
    """A whole check takes at most 30 requests."""
    done = app_of(service).test_cli_runner().invoke(args=["doctor", "--url", traefik.url("safe")])

    assert 10 < int(re.search(r"(\d+) requests", done.stdout)[1]) <= 30  # type: ignore[index]


def test_own_certificate(service: Gunicorn, traefik: FaultyTraefik) -> None:
    """With -k, the rest is checked behind a certificate that nobody signed."""
    assert diagnose(app_of(service), "-k", "--url", traefik.url("tls")) == set()


def test_plain_http_beside_https(service: Gunicorn, traefik: FaultyTraefik) -> None:
    """A host that answers over plain http as well is found, but not one that redirects."""
    with app_of(service).app_context():
        found = {
            fault: {one.id for one in entrance(service, traefik.url("tls"), traefik.url(fault)).findings()}
            for fault in ("safe", "redirects")
        }

    assert found == {"safe": {"entrance-no-redirect"}, "redirects": set()}


def entrance(service: Gunicorn, url: str, plain: str) -> Entrance:
    """Return the checks of *url*, whose host has *plain* as its address without TLS."""
    services = services_of(app_of(service))
    wallet = Wallet(ACTOR, services.registry, services.catalog, services.settings.credential_sources, 0)
    prober = Prober(Door(Url.parse(url), is_insecure=True), wallet, services.settings.auth_realm)
    return Entrance(prober, Door(Url.parse(plain)), is_proxy_trusted=True)


def test_longest_life(service: Gunicorn, traefik: FaultyTraefik) -> None:
    """The token of a check fits into MAX_TTL_SECONDS."""
    assert diagnose(app_of(service, max_ttl_seconds=30), "--url", traefik.url("safe")) == set()


def test_untrusted_proxy(service: Gunicorn, traefik: FaultyTraefik) -> None:
    """A proxy whose clients the service can't tell apart is worth knowing, and no more."""
    app = app_of(service, trusted_proxies="")
    assert diagnose(app, "--url", traefik.url("safe")) == {"entrance-clients-unknown"}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"redis_port": free_port()}, {"entrance-no-token"}),
        ({"pepper": "not the service's"}, {"entrance-no-token"}),
        ({"auth_realm": "another"}, {"entrance-foreign"}),
    ],
)
def test_another_shell(
    service: Gunicorn, traefik: FaultyTraefik, changes: dict[str, object], expected: set[str]
) -> None:
    """A shell with other settings than the service says what it could not check, and invents nothing."""
    assert diagnose(app_of(service, **changes), "--url", traefik.url("safe")) == expected


@pytest.mark.parametrize("kind", [Nginx, Caddy])
def test_other_proxies(service: Gunicorn, echo: Backend, kind: type[Proxy]) -> None:
    """Nothing but the missing TLS is found in the configurations of docs/recipes/."""
    assert behind(kind, service, echo) == {"entrance-unencrypted"}


def test_empty_answers(service: Gunicorn) -> None:
    """A backend that answers nothing is not taken for Caddy, which answers nothing to unknown hosts."""
    with Backend(_Empty) as empty:
        assert behind(Caddy, service, empty) == {"entrance-unencrypted", "entrance-blind"}


class _Empty(EchoHandler):
    def answer(self, _: Seen) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


@pytest.mark.parametrize(
    ("kind", "line", "name"),
    [
        (Nginx, BELIEVING.format("Host"), "entrance-forged-host"),
        (Nginx, BELIEVING.format("Uri"), "entrance-forged-path"),
        (Nginx, r" *proxy_set_header Authorization \$http_authorization;\n", "entrance-token-refused"),
        (Nginx, r' *proxy_set_header Authorization "";\n', "entrance-token-forwarded"),
        (Nginx, r"server {\n    listen 80 default_server;\n    return 421;\n}\n", "entrance-any-host"),
        (Caddy, r"\t\theader_up -Authorization\n", "entrance-token-forwarded"),
    ],
)
def test_lines_of_other_proxies(
    service: Gunicorn, echo: Backend, kind: type[Proxy], line: str, name: str
) -> None:
    """A line that is missing in a configuration of docs/recipes/ is found."""
    assert name in behind(kind, service, echo, lambda text: re.sub(line, "", text))


def behind(kind: type[Proxy], service: Gunicorn, echo: Backend, change: Change = unchanged) -> set[str]:
    """Return what is found behind a proxy with a documented configuration, or a changed one."""
    if not kind.path():
        pytest.skip(f"{kind.binary} is not installed")
    with kind(service.port, echo.port, change) as proxy:
        return diagnose(app_of(service), "--url", f"http://{HOST}", "--connect-to", f"127.0.0.1:{proxy.port}")


def test_nothing_there(service: Gunicorn) -> None:
    """An address that refuses connections, has no name, or speaks no HTTP is one finding."""
    with Backend(_Babble) as babble:
        for url in (
            f"http://127.0.0.1:{free_port()}",
            "http://nobody.invalid",
            f"https://[::1]:{free_port()}/x",
            f"http://127.0.0.1:{babble.port}",
            f"https://127.0.0.1:{babble.port}",
        ):
            assert diagnose(app_of(service), "--url", url) == {"entrance-silent"}


class _Babble(EchoHandler):
    def handle(self) -> None:
        self.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n")


def test_silence(service: Gunicorn, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address that accepts connections and never answers is given up."""
    monkeypatch.setattr(visits, "TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert diagnose(app_of(service), "--url", url) == {"entrance-silent"}


def test_endless_body(service: Gunicorn, monkeypatch: pytest.MonkeyPatch) -> None:
    """A response that never ends, such as a stream of events, is judged by its beginning."""
    monkeypatch.setattr(visits, "TIMEOUT_S", 0.2)
    with Backend(_Endless) as endless:
        url = f"http://127.0.0.1:{endless.port}"
        assert diagnose(app_of(service), "--url", url) == {"entrance-unprotected"}


class _Endless(EchoHandler):
    def answer(self, _: Seen) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\ndata: 1\n\n")
        self.rfile.read(1)


def test_slow(service: Gunicorn, monkeypatch: pytest.MonkeyPatch) -> None:
    """An entrance that stops answering ends the checks, and what was found before counts."""
    monkeypatch.setattr(visits, "TIMEOUT_S", 0.2)
    with Backend(_Hanging) as hanging:
        url = f"http://127.0.0.1:{hanging.port}"
        assert diagnose(app_of(service), "--url", url) == {"entrance-slow"}


class _Hanging(EchoHandler):
    def answer(self, seen: Seen) -> None:
        if self.server.hits:
            self.rfile.read(1)
        self.server.seen.append(seen)
        challenge = b'WWW-Authenticate: Bearer realm="acl-auth-service"\r\n'
        self.wfile.write(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n" + challenge + b"\r\n")


def test_leftovers(
    service: Gunicorn, traefik: FaultyTraefik, shipped: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token that could not be deleted is named, by its id, and expires within a minute."""

    def fail(*_: object) -> None:
        raise StoreUnavailableError("Redis is gone")

    monkeypatch.setattr(Registry, "delete", fail)
    assert diagnose(app_of(service), "--url", traefik.url("safe")) == {"entrance-leftover"}
    left = list(shipped.client().scan_iter(match="tokens:*"))
    assert left
    assert all(0 < shipped.client().ttl(key) <= 60 for key in left)
    shipped.client().delete(*left)
