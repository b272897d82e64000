"""The configurations of the proxies in docs/recipes/, as they are printed, with the real proxies."""

from __future__ import annotations

import re
import socket
import time
from base64 import b64encode
from collections.abc import Iterator
from typing import Any

import pytest

from devkit.capture import send
from devkit.http import Connection, Headers, bearer, call
from devkit.pages import run
from devkit.ports import free_port
from devkit.proxies import (
    HOST,
    Caddy,
    Envoy,
    EventsBackend,
    HAProxy,
    LabeledTraefik,
    Nginx,
    Proxy,
    Traefik,
    recipe,
)
from devkit.service import Gunicorn
from devkit.subrequests import clients
from devkit.waiting import at_best

pytestmark = pytest.mark.e2e

OTHER = "wiki.example.com"
KINDS = [Traefik, Caddy, Nginx, Envoy, HAProxy]
UPGRADE = [
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Key", b64encode(b"sixteen bytes ok").decode()),
    ("Sec-WebSocket-Version", "13"),
]


@pytest.fixture(scope="module", name="echo")
def _echo() -> Iterator[EventsBackend]:
    with EventsBackend() as backend:
        yield backend


@pytest.fixture(scope="module", name="kind", params=KINDS, ids=lambda kind: kind.name)
def _kind(request: Any) -> type[Proxy]:
    return installed(request.param)


@pytest.fixture(scope="module", name="proxy")
def _proxy(kind: type[Proxy], service: Gunicorn, echo: EventsBackend) -> Iterator[Proxy]:
    with kind(service.port, echo.port) as proxy:
        yield proxy


@pytest.fixture(scope="module", name="without_redis")
def _without_redis() -> Iterator[Gunicorn]:
    with Gunicorn(free_port()) as service:
        yield service


@pytest.fixture(name="token")
def _token(service: Gunicorn) -> str:
    """Issue a token for the documented host."""
    return service.issue(HOST)


@pytest.fixture(name="other_token")
def _other_token(service: Gunicorn) -> str:
    """Issue a token for another host."""
    return service.issue(OTHER)


def installed(kind: type[Proxy]) -> type[Proxy]:
    """Return *kind*, or skip the test if that proxy is not installed."""
    return kind if kind.path() else pytest.skip(f"{kind.binary} is not installed")


class TestAllowed:
    """Requests with a token that lists the host."""

    def test_identity(self, proxy: Proxy, backend: EventsBackend, service: Gunicorn) -> None:
        """The backend receives the token's identity and never the token."""
        token = service.issue(HOST, email="ops@a.test", comment="日本")

        assert proxy.call(token).status == 200
        fields = {name.lower(): value for name, value in backend.seen[0].headers}
        assert fields["x-auth-email"] == "ops@a.test"
        assert fields["x-auth-comment"] == "%E6%97%A5%E6%9C%AC"
        assert len(fields["x-auth-token-id"]) == 16
        assert token not in str(backend.seen)

    @pytest.mark.parametrize(
        "name",
        [
            "X-Auth-Token-Id",
            "X-Auth-Email",
            "x-auth-comment",
            "X_Auth_Token_Id",
            "X-Auth_Email",
            "X.Auth.Email",
        ],
    )
    def test_forged_identity(self, proxy: Proxy, backend: EventsBackend, token: str, name: str) -> None:
        """Identity headers sent by a client never reach the backend, in any spelling or number."""
        assert proxy.call(token, headers=[(name, "forged"), (name, "forged")]).status == 200
        assert "forged" not in str(backend.seen)

    @pytest.mark.parametrize("method", ["OPTIONS", "HEAD", "POST", "PUT", "PATCH", "DELETE"])
    def test_every_method(self, proxy: Proxy, backend: EventsBackend, token: str, method: str) -> None:
        """Every HTTP method is decided the same way."""
        assert proxy.call(token, method=method, body=b"").status == 200
        assert proxy.call(method=method, body=b"").status == 401
        assert [seen.method for seen in backend.seen] == [method]

    def test_body(self, proxy: Proxy, backend: EventsBackend, token: str) -> None:
        """Bodies of one megabyte reach the backend intact over reused connections."""
        for _ in range(3):
            assert proxy.call(token, method="POST", body=b"x" * 1_000_000).json()["method"] == "POST"
        assert backend.hits == 3

    @pytest.mark.parametrize(
        "headers",
        [[("Cookie", "c" * 9000)], [(f"X-Header-{number}", "x") for number in range(70)]],
        ids=["cookie", "many"],
    )
    def test_large_head(self, proxy: Proxy, backend: EventsBackend, token: str, headers: Headers) -> None:
        """A 9 kB cookie or 70 headers do not change the decision."""
        assert proxy.call(token, headers=headers).status == 200
        assert proxy.call("wrong", headers=headers).status == 401
        assert backend.hits == 1

    def test_long_address(self, proxy: Proxy, backend: EventsBackend, token: str) -> None:
        """A query of 60 000 characters reaches the backend, except that it exceeds HAProxy's buffer."""
        target = "/?q=" + "a" * 60_000
        if isinstance(proxy, HAProxy):
            assert proxy.call(token, target=target).status == 400
            assert backend.hits == 0
            return

        assert proxy.call(token, target=target).status == 200
        assert proxy.call(target=target).status == 401
        assert [seen.path for seen in backend.seen] == [target]

    def test_large_headers_of_a_response(self, proxy: Proxy, token: str) -> None:
        """A response with 12 kB of headers reaches the client."""
        assert len(proxy.call(token, target="/large").headers["x-large"]) == 12_000

    def test_stream(self, proxy: Proxy, echo: EventsBackend, token: str) -> None:
        """A server-sent event arrives when it is sent, not when the stream ends."""
        echo.go_on.clear()
        with Connection(proxy.port) as connection:
            connection.send(request("/events", bearer(token)))
            first = read_until(connection, b"data: 1")
            echo.go_on.set()
            second = read_until(connection, b"data: 2")
        assert b"data: 2" not in first
        assert second

    def test_piece_of_a_stream(self, proxy: Proxy, echo: EventsBackend, token: str) -> None:
        """An event is passed on at once, not after the 200 ms for which TCP may wait for more."""

        def first_s() -> float:
            echo.go_on.clear()
            with Connection(proxy.port) as connection:
                start = time.monotonic()
                connection.send(request("/events", bearer(token)))
                read_until(connection, b"data: 1")
                took_s = time.monotonic() - start
                echo.go_on.set()
            return took_s

        at_best(first_s, 0.15)

    def test_scheme(self, proxy: Proxy, backend: EventsBackend, token: str) -> None:
        """The proxy writes X-Forwarded-Proto, whatever the client claims."""
        assert proxy.call(token, headers=[("X-Forwarded-Proto", "https")]).status == 200
        assert backend.seen[0].fields["x-forwarded-proto"] == "http"

    def test_web_socket(self, proxy: Proxy, backend: EventsBackend, token: str) -> None:
        """A WebSocket opens only with a valid token, and carries bytes in both directions."""
        assert proxy.call("wrong", headers=UPGRADE).status == 401
        with Connection(proxy.port) as connection:
            connection.send(request("/", [*bearer(token), *UPGRADE]))
            assert read_until(connection, b"\r\n\r\n").startswith(b"HTTP/1.1 101 ")
            connection.send(b"hello")
            assert read_until(connection, b"hello")
        assert backend.hits == 1


class TestRefused:
    """What the client is answered; the backend must receive no request."""

    @pytest.fixture(autouse=True)
    def _backend_unreached(self, backend: EventsBackend) -> Any:
        yield
        assert not backend.seen

    def test_bad_tokens(self, proxy: Proxy, other_token: str) -> None:
        """The proxy passes on the status, and a 401 keeps its challenge."""
        tokens = [None, "wrong", other_token]
        answers = [proxy.call(token) for token in tokens]

        assert [answer.status for answer in answers] == [401, 401, 403]
        assert answers[0].headers["www-authenticate"] == 'Bearer realm="acl-auth-service"'
        assert answers[1].headers["www-authenticate"].endswith('error="invalid_token"')
        if not isinstance(proxy, Nginx):
            reasons = ["missing bearer token", "invalid token", "forbidden for host"]
            assert [answer.text for answer in answers] == reasons

    def test_two_credentials(self, proxy: Proxy, token: str) -> None:
        """Two credentials are refused; nginx refuses them itself."""
        for first, second in [(token, "wrong"), ("wrong", token), (token, token)]:
            assert proxy.call(first, headers=bearer(second)).status in {400, 401}

    @pytest.mark.parametrize(
        "headers",
        [
            [("X-Forwarded-Host", OTHER)],
            [("X-Forwarded-Host", OTHER), ("x-forwarded-host", OTHER)],
            [("X_Forwarded_Host", OTHER)],
            [("X.Forwarded.Host", OTHER)],
            [("Forwarded", f"host={OTHER}")],
            [("X-Original-Host", OTHER)],
            [("Connection", "X-Forwarded-Host"), ("X-Forwarded-Host", OTHER)],
            [("Connection", "close, Host"), ("X-Forwarded-Host", OTHER)],
        ],
        ids=str,
    )
    def test_forged_host(self, proxy: Proxy, other_token: str, headers: Headers) -> None:
        """The host is the one that the proxy routed by, not one that the client claims."""
        assert proxy.call(other_token, headers=headers).status in {400, 403}

    @pytest.mark.parametrize("host", [OTHER, f"{OTHER}:80", f"{OTHER}.", f"{HOST}.{OTHER}", ""])
    def test_unlisted_host(self, proxy: Proxy, other_token: str, host: str) -> None:
        """The backend is served for its own host only, so no client can choose a host that it may use."""
        call(proxy.port, "/", [("Host", host), *bearer(other_token)])

    def test_absolute_address(self, proxy: Proxy, other_token: str) -> None:
        """A request cannot name one host to the proxy and another to the service."""
        for named, host in [(OTHER, HOST), (HOST, OTHER), (OTHER, OTHER)]:
            proxy.call(other_token, host, target=f"http://{named}/")

    @pytest.mark.parametrize(
        "target", ["/healthz", "/livez", "/metrics", "/static/style.css", "/auth", "/_auth"]
    )
    def test_our_own_paths(self, proxy: Proxy, target: str) -> None:
        """Public paths of this service open nothing at the backend."""
        assert proxy.call(target=target).status in {401, 404}

    def test_without_redis(self, kind: type[Proxy], without_redis: Gunicorn, echo: EventsBackend) -> None:
        """Without Redis the answer is a 503 with Retry-After."""
        with kind(without_redis.port, echo.port) as proxy:
            answer = proxy.call("from-an-older-deployment")

        assert answer.status == 503
        assert answer.headers["retry-after"] == "1"

    def test_service_down(self, kind: type[Proxy], echo: EventsBackend, token: str) -> None:
        """If the service is down, no request is allowed."""
        with kind(free_port(), echo.port) as proxy:
            status = proxy.call(token).status

        assert status == {"traefik": 500, "caddy": 502}.get(kind.name, 503)


def test_rate_limit(proxy: Proxy, backend: EventsBackend, service: Gunicorn) -> None:
    """A client over its rate limit gets a 429 with Retry-After."""
    token = service.issue(HOST, rate_limit_max="1", rate_limit_window_sec="600")
    first, second = proxy.call(token), proxy.call(token)

    text = "too many requests" if isinstance(proxy, Nginx) else "rate limit exceeded"
    assert (first.status, second.status, second.text) == (200, 429, text)
    assert ("ratelimit-policy" in second.headers) == (not isinstance(proxy, Nginx))
    assert 0 < int(second.headers["retry-after"]) <= 600
    assert backend.hits == 1


def test_documented_commands(proxy: Proxy, service: Gunicorn, token: str) -> None:
    """The commands on the page of each proxy answer as it says."""
    commands = recipe("Try it", "sh", proxy.page()).replace("https://", "http://")
    (service.dir / ".curlrc").write_text(f'connect-to = "{HOST}:80:127.0.0.1:{proxy.port}"\n')
    printed = run(commands, service, TOKEN=token)

    promised = re.findall(r"# (\d{3})$", commands, re.MULTILINE)
    assert re.findall(r"HTTP/1.1 (\d+)", printed) == promised == ["401", "401", "200"]


def test_express_lane(proxy: Proxy, service: Gunicorn) -> None:
    """All requests of real clients are decided in the express lane, except for upgrades and Expect."""
    requests = [
        head
        for name, head in clients()
        if b"Upgrade: " not in head and b"Expect: " not in head and name != "rude"
    ]
    before = counters(service)
    for head in requests:
        send(proxy.port, re.sub(rb"\r\nHost: .*", b"\r\nHost: %s\r" % HOST.encode(), head))
    after = counters(service)

    assert after["decisions"] - before["decisions"] == len(requests)
    assert after["express"] - before["express"] == len(requests)


def counters(service: Gunicorn) -> dict[str, float]:
    """Return the number of decisions, and how many of them the express lane made."""
    text = service.page("/metrics").text
    return {
        name: sum(map(float, re.findall(rf"^acl_auth_{name}_total(?:{{.*}})? (\S+)$", text, re.MULTILINE)))
        for name in ("decisions", "express")
    }


def request(target: str, headers: Headers) -> bytes:
    """Return a request to the documented host as bytes."""
    fields = "".join(f"{name}: {value}\r\n" for name, value in [("Host", HOST), *headers])
    return f"GET {target} HTTP/1.1\r\n{fields}\r\n".encode()


def read_until(connection: Connection, end: bytes) -> bytes:
    """Read from *connection* until the data contain *end*."""
    received = b""
    while end not in received:
        received += connection.receive() or pytest.fail(f"ended: {received!r}")
    return received


@pytest.mark.parametrize("kind", [Nginx, Envoy, HAProxy], ids=lambda kind: kind.name)
def test_silent_stream(kind: type[Proxy], service: Gunicorn, echo: EventsBackend, token: str) -> None:
    """A backend may be silent for as long as the configuration says, and no default is shorter."""
    echo.go_on.clear()
    with installed(kind)(service.port, echo.port, in_a_second) as proxy, Connection(proxy.port) as connection:
        connection.send(request("/events", [*bearer(token), ("Connection", "close")]))
        received = connection.rest()
    echo.go_on.set()

    assert b"data: 1" in received
    assert b"data: 2" not in received


def test_slow_upload(service: Gunicorn, echo: EventsBackend, token: str) -> None:
    """An upload may take as long as Traefik's labels say, which is more than the default minute."""
    traefik = installed(LabeledTraefik)(service.port, echo.port, in_a_second)
    with traefik, Connection(traefik.port, timeout_s=30) as connection:
        connection.send(request("/", [*bearer(token), ("Content-Length", "1")]))
        assert b"HTTP/1.1 200 " not in connection.rest()


@pytest.mark.parametrize(("kind", "status"), [(Nginx, 503), (Caddy, 504)])
def test_hung_service(kind: type[Proxy], status: int, echo: EventsBackend) -> None:
    """A service that hangs is given up after the five seconds of the page, which are one here."""
    with socket.create_server(("127.0.0.1", 0)) as hung:
        proxy = installed(kind)(hung.getsockname()[1], echo.port, lambda text: text.replace("5s", "1s"))
        with proxy, Connection(proxy.port, timeout_s=30) as connection:
            assert connection.call("/", [("Host", HOST), *bearer("any")]).status == status


def in_a_second(text: str) -> str:
    """Return a configuration in which the hour that it allows is a second."""
    return text.replace("1h", "1s").replace("3600s", "1s")


@pytest.mark.parametrize("path", ["/", "/livez", "/static/style.css", "/a/b%2f..//c?d=e"])
def test_envoy_with_a_prefix(service: Gunicorn, backend: EventsBackend, token: str, path: str) -> None:
    """Envoy configured to append the client's path to ours gets the same answers."""
    with installed(Envoy)(
        service.port, backend.port, lambda text: text.replace("path_override", "path_prefix")
    ) as envoy:
        assert [envoy.call(each, target=path).status for each in (None, "wrong", token)] == [401, 401, 200]
        assert backend.hits == 1
