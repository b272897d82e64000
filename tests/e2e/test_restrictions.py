"""Restrictions behind the real proxies: nothing outside of a token's lists reaches the backend."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from app.core.paths import has_one_reading
from chaos.paths import try_out
from devkit.backend import Backend
from devkit.detours import DETOURS, PLAIN, Detour, middlewares
from devkit.http import Connection, bearer, encoded
from devkit.programs import program
from devkit.proxies import HOST, HAProxy, Nginx, Proxy, Traefik, unchanged
from devkit.redis_server import RedisServer
from devkit.service import Gunicorn
from devkit.spellings import LISTED, spellings

pytestmark = pytest.mark.e2e

KINDS = [detour.kind for detour in PLAIN]

CLIENT, PROXY = "127.0.0.9", "127.0.0.1"
FORGED = [
    ("X-Forwarded-Method", "GET"),
    ("X-Forwarded-Uri", "/v1/models"),
    ("X-Forwarded-For", "192.0.2.7"),
    ("X-Real-Ip", "192.0.2.7"),
    ("Forwarded", "for=192.0.2.7"),
]


def send(proxy: Proxy, token: str, targets: list[str], method: str = "GET") -> list[int]:
    """Send requests from CLIENT with forged headers, over as few connections as possible; return statuses."""
    statuses: list[int] = []
    connection = Connection(proxy.port, source=CLIENT)
    for target in targets:
        connection.send(encoded(target, [("Host", HOST), *bearer(token), *FORGED], method))
        try:
            answer = connection.read(head=method == "HEAD")
        except ConnectionError:
            answer = None
        statuses.append(answer.status if answer else 0)
        if not answer or answer.headers.get("connection") == "close" or answer.status == 400:
            connection.__exit__()
            connection = Connection(proxy.port, source=CLIENT)
    connection.__exit__()
    return statuses


@pytest.fixture(scope="module", name="gunicorn")
def _gunicorn() -> Iterator[Gunicorn]:
    """Run the service for proxies on PROXY."""
    with RedisServer() as redis, Gunicorn(redis.port, trusted_proxies=PROXY, rate_limit_max=0) as service:
        yield service


@pytest.fixture(scope="module", name="echo")
def _echo() -> Iterator[Backend]:
    with Backend() as backend:
        yield backend


@pytest.fixture(scope="module", name="proxy", params=KINDS, ids=lambda kind: kind.name)
def _proxy(request: Any, gunicorn: Gunicorn, echo: Backend) -> Iterator[Proxy]:
    program(request.param.binary)
    with request.param(gunicorn.port, echo.port) as proxy:
        yield proxy


@pytest.fixture(name="backend")
def _backend(echo: Backend) -> Backend:
    echo.seen.clear()
    return echo


@pytest.mark.parametrize("detour", PLAIN, ids=lambda detour: detour.name)
def test_paths(detour: Detour, gunicorn: Gunicorn) -> None:
    """However a path is spelled, the backend receives no other than a listed one, in no reading."""
    program(detour.kind.binary)

    assert list(try_out(detour, gunicorn, 500).broken()) == []


@pytest.mark.parametrize("detour", DETOURS, ids=lambda detour: detour.name)
def test_detours(detour: Detour, gunicorn: Gunicorn) -> None:
    """The same holds where a prefix is removed before or after the check, as the recipes recommend."""
    program(detour.kind.binary)

    assert list(try_out(detour, gunicorn, 170).broken()) == []


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind is not HAProxy], ids=lambda kind: kind.name)
def test_compared_path(kind: type[Proxy], backend: Backend) -> None:
    """X-Forwarded-Uri is the path that the backend receives, byte by byte, or matches no list."""
    program(kind.binary)
    with Backend() as asked, kind(asked.port, backend.port) as proxy:
        asked.seen.clear()
        backend.seen.clear()
        # A long one would not fit into the answer that Traefik accepts from the service.
        send(proxy, "any", [text for text in spellings(HOST, 300) if len(text) < 500])

    compared = [seen.fields["x-forwarded-uri"] for seen in asked.seen]
    received = [seen.path for seen in backend.seen]
    assert len(compared) > 50
    assert all(a == b or not has_one_reading(a) for a, b in zip(compared, received, strict=True))


def test_methods(proxy: Proxy, backend: Backend, gunicorn: Gunicorn) -> None:
    """The method is the client's, whatever its headers claim."""
    token = gunicorn.issue(HOST, methods="GET")

    assert [send(proxy, token, ["/"], method)[0] for method in ("GET", "HEAD", "DELETE", "OPTIONS")] == [
        *(200, 200, 403, 403)
    ]
    assert [seen.method for seen in backend.seen] == ["GET", "HEAD"]


def test_networks(proxy: Proxy, backend: Backend, gunicorn: Gunicorn) -> None:
    """The network is the one that the client is in, whatever its headers claim."""
    here, elsewhere = (gunicorn.issue(HOST, networks=text) for text in (f"{CLIENT}/32", "192.0.2.0/24"))

    assert send(proxy, here, ["/"]) == [200]
    assert send(proxy, elsewhere, ["/"]) == [403]
    assert backend.hits == 1


def test_replaced_before(gunicorn: Gunicorn, backend: Backend) -> None:
    """What is compared after ReplacePath is the path that the backend receives, not the client's."""
    tokens = [gunicorn.issue(HOST, paths=paths) for paths in ("/v1/models", "/admin")]
    replace = middlewares("path, token", "replacePath: {path: /v1/models}")
    with Traefik(gunicorn.port, backend.port, replace) as traefik:
        assert [send(traefik, token, ["/admin"]) for token in tokens] == [[200], [403]]

    assert [seen.path for seen in backend.seen] == ["/v1/models"]


def test_replaced_after(gunicorn: Gunicorn, backend: Backend) -> None:
    """A middleware after ours that replaces paths makes lists of paths pointless, as the docs warn."""
    token = gunicorn.issue(HOST, paths=",".join(LISTED))
    replace = middlewares("token, path", "replacePath: {path: /admin}")
    with Traefik(gunicorn.port, backend.port, replace) as traefik:
        assert send(traefik, token, ["/v1/models", "/v1/other"]) == [200, 403]

    assert [seen.path for seen in backend.seen] == ["/admin"]


def test_header_of_the_client(gunicorn: Gunicorn, backend: Backend) -> None:
    """A proxy that passes on the client's X-Forwarded-Uri lets it choose what is compared, as docs warn."""
    change: Callable[[str], str] = lambda text: text.replace("$request_uri;", "$http_x_forwarded_uri;")  # noqa: E731
    token = gunicorn.issue(HOST, paths=",".join(LISTED))
    with (
        Nginx(gunicorn.port, backend.port, unchanged) as right,
        Nginx(gunicorn.port, backend.port, change) as wrong,
    ):
        assert [send(nginx, token, ["/admin"]) for nginx in (right, wrong)] == [[403], [200]]
