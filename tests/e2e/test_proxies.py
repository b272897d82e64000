"""The configurations of docs/proxies.md with the real proxies: what passes, what does not, what is lost."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from devkit.capture import send
from devkit.http import Connection, Headers, bearer, call
from devkit.ports import free_port
from devkit.proxies import (
    HOST,
    Caddy,
    Envoy,
    EventsBackend,
    HAProxy,
    Nginx,
    Proxy,
    Traefik,
)
from devkit.service import Gunicorn
from devkit.subrequests import clients

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
    """Return a new token that opens the documented host."""
    return service.issue(HOST)


@pytest.fixture(name="stranger")
def _stranger(service: Gunicorn) -> str:
    """Return a new token that opens another host."""
    return service.issue(OTHER)


def installed(kind: type[Proxy]) -> type[Proxy]:
    """Skip the test where there is no such proxy."""
    return kind if kind.path() else pytest.skip(f"{kind.binary} is not installed")


class TestAllowed:
    """A token that lists the host."""

    def test_identity(self, proxy: Proxy, backend: EventsBackend, service: Gunicorn) -> None:
        """The backend learns whose token it was, and never sees the token."""
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
        """No identity that a client writes itself survives, however it is spelled and however often."""
        assert proxy.call(token, headers=[(name, "forged"), (name, "forged")]).status == 200
        assert "forged" not in str(backend.seen)

    @pytest.mark.parametrize("method", ["OPTIONS", "HEAD", "POST", "PUT", "PATCH", "DELETE"])
    def test_every_method(self, proxy: Proxy, backend: EventsBackend, token: str, method: str) -> None:
        """Every method is decided alike."""
        assert proxy.call(token, method=method, body=b"").status == 200
        assert proxy.call(method=method, body=b"").status == 401
        assert [seen.method for seen in backend.seen] == [method]

    def test_body(self, proxy: Proxy, backend: EventsBackend, token: str) -> None:
        """A body of a megabyte reaches the backend whole, again and again on the same connections."""
        for _ in range(3):
            assert proxy.call(token, method="POST", body=b"x" * 1_000_000).json()["method"] == "POST"
        assert backend.hits == 3

    @pytest.mark.parametrize(
        "headers",
        [[("Cookie", "c" * 9000)], [(f"X-Header-{number}", "x") for number in range(70)]],
        ids=["cookie", "many"],
    )
    def test_large_head(self, proxy: Proxy, backend: EventsBackend, token: str, headers: Headers) -> None:
        """Cookies of 9 kB or 70 headers cost nobody their access."""
        assert proxy.call(token, headers=headers).status == 200
        assert proxy.call("wrong", headers=headers).status == 401
        assert backend.hits == 1

    def test_long_address(self, proxy: Proxy, backend: EventsBackend, token: str) -> None:
        """A query of 60 000 characters is the backend's matter; HAProxy's usual buffer is too small."""
        target = "/?q=" + "a" * 60_000
        if isinstance(proxy, HAProxy):
            assert proxy.call(token, target=target).status == 400
            assert backend.hits == 0
            return

        assert proxy.call(token, target=target).status == 200
        assert proxy.call(target=target).status == 401
        assert [seen.path for seen in backend.seen] == [target]

    def test_stream(self, proxy: Proxy, echo: EventsBackend, token: str) -> None:
        """An event arrives when it is sent, not when the stream ends."""
        echo.go_on.clear()
        with Connection(proxy.port) as connection:
            connection.send(request("/events", bearer(token)))
            first = read_until(connection, b"data: 1")
            echo.go_on.set()
            second = read_until(connection, b"data: 2")
        assert b"data: 2" not in first
        assert second

    def test_web_socket(self, proxy: Proxy, backend: EventsBackend, token: str) -> None:
        """A WebSocket opens with a good token and with no other, and carries bytes both ways."""
        assert proxy.call("wrong", headers=UPGRADE).status == 401
        with Connection(proxy.port) as connection:
            connection.send(request("/", [*bearer(token), *UPGRADE]))
            assert read_until(connection, b"\r\n\r\n").startswith(b"HTTP/1.1 101 ")
            connection.send(b"hello")
            assert read_until(connection, b"hello")
        assert backend.hits == 1


class TestRefused:
    """What the client is told; the backend hears nothing."""

    @pytest.fixture(autouse=True)
    def _backend_unreached(self, backend: EventsBackend) -> Any:
        yield
        assert not backend.seen

    def test_bad_tokens(self, proxy: Proxy, stranger: str) -> None:
        """The status is ours, and a 401 has its challenge."""
        asked = [None, "wrong", stranger]
        answers = [proxy.call(token) for token in asked]

        assert [answer.status for answer in answers] == [401, 401, 403]
        assert answers[0].headers["www-authenticate"] == 'Bearer realm="acl-auth-service"'
        assert answers[1].headers["www-authenticate"].endswith('error="invalid_token"')
        if not isinstance(proxy, Nginx):
            said = ["missing bearer token", "invalid token", "forbidden for host"]
            assert [answer.text for answer in answers] == said

    def test_two_credentials(self, proxy: Proxy, token: str) -> None:
        """Two credentials are none; nginx does not even ask."""
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
    def test_forged_host(self, proxy: Proxy, stranger: str, headers: Headers) -> None:
        """The host is the one that the proxy went by, not one that the client claims."""
        assert proxy.call(stranger, headers=headers).status in {400, 403}

    @pytest.mark.parametrize("host", [OTHER, f"{OTHER}:80", f"{OTHER}.", f"{HOST}.{OTHER}", ""])
    def test_other_site(self, proxy: Proxy, stranger: str, host: str) -> None:
        """A backend is there for its own host alone, so that no client picks a name that its token opens."""
        call(proxy.port, "/", [("Host", host), *bearer(stranger)])

    def test_absolute_address(self, proxy: Proxy, stranger: str) -> None:
        """The request line and Host can't name two hosts, one for the token and one for the backend."""
        for named, host in [(OTHER, HOST), (HOST, OTHER), (OTHER, OTHER)]:
            proxy.call(stranger, host, target=f"http://{named}/")

    @pytest.mark.parametrize(
        "target", ["/healthz", "/livez", "/metrics", "/static/style.css", "/auth", "/_auth"]
    )
    def test_our_own_paths(self, proxy: Proxy, target: str) -> None:
        """What this service serves to everybody opens nothing of the same name."""
        assert proxy.call(target=target).status in {401, 404}

    def test_without_redis(self, kind: type[Proxy], without_redis: Gunicorn, echo: EventsBackend) -> None:
        """Without Redis the status is 503; Envoy alone does not say when to come again."""
        with kind(without_redis.port, echo.port) as proxy:
            answer = proxy.call("from-an-older-deployment")

        assert answer.status == 503
        assert answer.headers.get("retry-after") == (None if kind is Envoy else "1")

    def test_service_gone(self, kind: type[Proxy], echo: EventsBackend, token: str) -> None:
        """A service that is not there opens nothing."""
        with kind(free_port(), echo.port) as proxy:
            status = proxy.call(token).status

        assert status == {"traefik": 500, "caddy": 502}.get(kind.name, 503)


def test_rate_limit(proxy: Proxy, backend: EventsBackend, service: Gunicorn) -> None:
    """Whoever is over the limit hears when to come again."""
    token = service.issue(HOST, rate_limit_max="1", rate_limit_window_sec="600")
    first, second = proxy.call(token), proxy.call(token)

    assert (first.status, second.status, second.text) == (200, 429, "rate limit exceeded")
    assert ("ratelimit-policy" in second.headers) == (not isinstance(proxy, Nginx))
    assert 0 < int(second.headers["retry-after"]) <= 600
    assert backend.hits == 1


def test_express_lane(proxy: Proxy, service: Gunicorn) -> None:
    """All that real clients send is decided in the express lane, but what asks for another protocol."""
    asked = [
        head
        for name, head in clients()
        if b"Upgrade: " not in head and b"Expect: " not in head and name != "rude"
    ]
    before = counters(service)
    for head in asked:
        send(proxy.port, re.sub(rb"\r\nHost: .*", b"\r\nHost: %s\r" % HOST.encode(), head))
    after = counters(service)

    assert after["decisions"] - before["decisions"] == len(asked)
    assert after["express"] - before["express"] == len(asked)


def counters(service: Gunicorn) -> dict[str, float]:
    """Return how many decisions there were, and how many of them in the express lane."""
    text = service.page("/metrics").text
    return {
        name: sum(map(float, re.findall(rf"^acl_auth_{name}_total(?:{{.*}})? (\S+)$", text, re.MULTILINE)))
        for name in ("decisions", "express")
    }


def request(target: str, headers: Headers) -> bytes:
    """Return the bytes of a request to the documented host."""
    fields = "".join(f"{name}: {value}\r\n" for name, value in [("Host", HOST), *headers])
    return f"GET {target} HTTP/1.1\r\n{fields}\r\n".encode()


def read_until(connection: Connection, end: bytes) -> bytes:
    """Return what arrives up to *end*."""
    received = b""
    while end not in received:
        received += connection.receive() or pytest.fail(f"ended: {received!r}")
    return received


def without(pattern: str) -> Callable[[str], str]:
    """Return a change that takes out what matches *pattern*."""
    return lambda text: re.sub(pattern, "", text)


def replaced(old: str, new: str) -> Callable[[str], str]:
    """Return a change of one text of a recipe for another."""
    return lambda text: text.replace(old, new)


_FORGED = [("X-Forwarded-Host", OTHER)]
_HOLES: dict[str, tuple[type[Proxy], Callable[[str], str], str, Headers]] = {
    "traefik, a router without a host": (Traefik, replaced(f"Host(`{HOST}`)", "PathPrefix(`/`)"), OTHER, []),
    "caddy, a site without a host": (Caddy, replaced(f"{HOST} {{", " {"), OTHER, []),
    "caddy, clients are trusted proxies": (
        Caddy,
        replaced("uri /auth?", "uri /auth?\ntrusted_proxies private_ranges"),
        HOST,
        _FORGED,
    ),
    "nginx, no other server": (Nginx, without(r"server {\n.*default_server;\n.*\n}\n"), OTHER, []),
    "nginx, all headers": (Nginx, without(r".*(pass_request_headers|X-Forwarded-Host).*\n"), HOST, _FORGED),
    "envoy, any domain": (Envoy, replaced("domains: [", 'domains: ["*", '), OTHER, []),
    "envoy, no mutation": (Envoy, replaced("key: x-forwarded-host", "key: x-other"), HOST, _FORGED),
}


@pytest.mark.parametrize("path", ["/", "/livez", "/static/style.css", "/a/b%2f..//c?d=e"])
def test_envoy_with_a_prefix(service: Gunicorn, backend: EventsBackend, token: str, path: str) -> None:
    """Envoy that puts the client's path behind ours is answered as if it did not."""
    change = replaced("path_override: /auth", "path_prefix: /auth")
    with installed(Envoy)(service.port, backend.port, change) as envoy:
        assert [envoy.call(each, target=path).status for each in (None, "wrong", token)] == [401, 401, 200]
        assert backend.hits == 1


def test_why_envoy_needs_our_path(service: Gunicorn, backend: EventsBackend) -> None:
    """An Envoy that asks the client's path opens what we serve to everybody, and the marks close that."""
    asks_anything = without(r".*path_override.*\n")
    unmarked = without(r".*exact: x-forwarded-(method|uri).*\n")
    with installed(Envoy)(service.port, backend.port, lambda text: unmarked(asks_anything(text))) as envoy:
        assert envoy.call(target="/livez").status == 200
        assert backend.hits == 1
    with Envoy(service.port, backend.port, asks_anything) as envoy:
        assert envoy.call(target="/livez").status == 403
        assert backend.hits == 1


@pytest.mark.parametrize("hole", _HOLES)
def test_why_it_is_there(hole: str, service: Gunicorn, backend: EventsBackend, stranger: str) -> None:
    """Without these lines of a recipe a token for another host opens this one, as the page warns."""
    kind, change, host, headers = _HOLES[hole]
    with installed(kind)(service.port, backend.port, change) as proxy:
        assert proxy.call(stranger, host, headers).status == 200
        assert backend.hits == 1
