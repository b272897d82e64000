"""Restrictions behind the real proxies: nothing outside of a token's lists reaches the backend."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest

from app.core.paths import has_one_reading
from devkit.backend import Backend, Seen
from devkit.http import Connection, bearer, encoded
from devkit.proxies import HOST, Caddy, Envoy, HAProxy, Nginx, Proxy, Traefik, unchanged
from devkit.redis_server import RedisServer
from devkit.service import Gunicorn

pytestmark = pytest.mark.e2e

KINDS = [Traefik, Caddy, Nginx, Envoy, HAProxy]
PATHS = ["/v1/models", "/v1/chat/*"]
CLIENT, PROXY = "127.0.0.9", "127.0.0.1"
FORGED = [
    ("X-Forwarded-Method", "GET"),
    ("X-Forwarded-Uri", "/v1/models"),
    ("X-Forwarded-For", "192.0.2.7"),
    ("X-Real-Ip", "192.0.2.7"),
    ("Forwarded", "for=192.0.2.7"),
]
PARTS = (
    *(
        "/",
        "/",
        "//",
        "/./",
        "/../",
        "/..",
        "/.",
        "\\",
        "/..\\",
        ";",
        ";a=b",
        "/..;/",
        "..",
        ".",
        "...",
        "*",
        ",",
    ),
    *(
        "%2f",
        "%2F",
        "%5c",
        "%2e%2e",
        "/%2e%2e/",
        "/%2e/",
        "%252e%252e",
        "%c0%ae",
        "%3b",
        "%3f",
        "%23",
        "%00",
        "%",
    ),
    *(
        "v1",
        "V1",
        "models",
        "chat",
        "chat/",
        "/v1/chat/",
        "/v1/models",
        "%76",
        "admin",
        "/admin",
        "x",
        "|",
        '"',
        "~",
    ),
    *("?", "?a=/../", "#", "\xe9", " "),
)
BEGINNINGS = (
    "/v1/chat/",
    "/v1/chat/",
    "/v1/chat",
    "/v1/models",
    "/",
    "",
    f"http://{HOST}",
    f"http://{HOST}/v1/chat/",
)
COUNT = 600


def spellings(prefix: str = "") -> list[str]:
    """Return request targets at random, the same in every run, most of them near a path that is listed."""
    draw = random.Random(12)
    made = [
        "".join([draw.choice(BEGINNINGS), *draw.choices(PARTS, k=draw.randint(0, 4))]) for _ in range(COUNT)
    ]
    return [f"{prefix}{text}" if text.startswith("/") else text for text in made if text]


def readings(target: str) -> Iterator[str]:
    """Yield what a backend may take the path of *target* for: as it is, or decoded and resolved."""
    path = target.removeprefix(f"http://{HOST}") or "/"
    yield path.partition("?")[0]
    whole, decoded = path.partition("?")[0], ""
    while whole != decoded:
        whole, decoded = unquote_to_bytes(whole).decode("latin-1"), whole
    for cut in (whole, whole.partition("#")[0], whole.partition("?")[0]):
        yield resolved(cut)


def resolved(path: str) -> str:
    """Return *path* without parameters, empty segments and dot segments; a backslash is a slash."""
    kept: list[str] = []
    segments = [segment.partition(";")[0] for segment in path.replace("\\", "/").split("/")]
    for segment in segments:
        if segment == "..":
            kept = kept[:-1]
        elif segment not in {"", "."}:
            kept.append(segment)
    is_open = len(kept) > 0 and segments[-1] in {"", ".", ".."}
    return "/" + "/".join(kept) + ("/" if is_open else "")


def is_listed(path: str) -> bool:
    """Return whether the token lists *path*."""
    return any(path == text or (text.endswith("/*") and path.startswith(text[:-1])) for text in PATHS)


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
    if not request.param.path():
        pytest.skip(f"{request.param.binary} is not installed")
    with request.param(gunicorn.port, echo.port) as proxy:
        yield proxy


@pytest.fixture(name="backend")
def _backend(echo: Backend) -> Backend:
    echo.seen.clear()
    return echo


def outside(seen: list[Seen]) -> list[str]:
    """Return the paths that the backend received and may take for one that is not listed."""
    return [each.path for each in seen if not all(map(is_listed, readings(each.path)))]


def test_paths(proxy: Proxy, backend: Backend, gunicorn: Gunicorn) -> None:
    """However a path is spelled, the backend receives no other than a listed one, in no reading."""
    statuses = send(proxy, gunicorn.issue(HOST, paths=",".join(PATHS)), spellings())

    assert outside(backend.seen) == []
    assert {200, 403} <= {*statuses} <= {0, 200, 400, 403, 404, 421}
    assert COUNT / 20 < backend.hits <= statuses.count(200)  # Caddy answers 200 for an unknown host
    assert {"/v1/models", "/v1/chat/"} <= {seen.path.partition("?")[0] for seen in backend.seen}


@pytest.mark.parametrize("kind", [Traefik, Caddy, Nginx, Envoy], ids=lambda kind: kind.name)
def test_compared_path(kind: type[Proxy], backend: Backend) -> None:
    """X-Forwarded-Uri is the path that the backend receives, byte by byte, or matches no list."""
    if not kind.path():
        pytest.skip(f"{kind.binary} is not installed")
    with Backend() as asked, kind(asked.port, backend.port) as proxy:
        asked.seen.clear()
        backend.seen.clear()
        send(proxy, "any", spellings())

    compared = [seen.fields["x-forwarded-uri"] for seen in asked.seen]
    received = [seen.path for seen in backend.seen]
    assert len(compared) > COUNT / 10
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


def middlewares(order: str, **rules: str) -> Callable[[str], str]:
    """Return what adds middlewares to README.md's file and puts them into an *order* with the one of ours."""
    added = "".join(f"    {name}:\n      {rule}\n" for name, rule in rules.items())
    return lambda text: text.replace("    token:\n", f"{added}    token:\n", 1).replace(
        "[token]", f"[{order}]"
    )


STRIP = {"strip": "stripPrefix: {prefixes: [/api]}"}
REPLACE = {"replace": "replacePath: {path: /v1/models}"}
ELSEWHERE = {"replace": "replacePath: {path: /admin}"}


STRIP_IN_CADDY = "\turi strip_prefix /api\n\tforward_auth"


@pytest.mark.parametrize(
    ("kind", "change", "places"),
    [
        (Traefik, middlewares("strip, token", **STRIP), ("", "/api")),
        (Traefik, middlewares("token, strip", **STRIP), ("/api", "/api")),
        (Traefik, middlewares("replace, token", **REPLACE), ("", "")),
        (Caddy, lambda text: text.replace("\tforward_auth", STRIP_IN_CADDY), ("", "/api")),
    ],
    ids=["strip before", "strip after", "replace before", "caddy"],
)
def test_middlewares(
    gunicorn: Gunicorn, backend: Backend, kind: type[Proxy], change: Any, places: tuple[str, str]
) -> None:
    """A middleware before ours changes what is compared; with StripPrefix after, list what clients send."""
    listed, sent = places
    token = gunicorn.issue(HOST, paths=",".join(f"{listed}{path}" for path in PATHS))
    with kind(gunicorn.port, backend.port, change) as proxy:
        statuses = send(proxy, token, spellings(sent))

    assert outside(backend.seen) == []
    assert COUNT / 20 < backend.hits <= statuses.count(200)


def test_replaced_after(gunicorn: Gunicorn, backend: Backend) -> None:
    """A middleware after ours that replaces paths makes lists of paths pointless, as the docs warn."""
    token = gunicorn.issue(HOST, paths=",".join(PATHS))
    with Traefik(gunicorn.port, backend.port, middlewares("token, replace", **ELSEWHERE)) as traefik:
        assert send(traefik, token, ["/v1/models", "/v1/other"]) == [200, 403]

    assert [seen.path for seen in backend.seen] == ["/admin"]


def test_header_of_the_client(gunicorn: Gunicorn, backend: Backend) -> None:
    """A proxy that passes on the client's X-Forwarded-Uri lets it choose what is compared, as docs warn."""
    change: Callable[[str], str] = lambda text: text.replace("$request_uri;", "$http_x_forwarded_uri;")  # noqa: E731
    token = gunicorn.issue(HOST, paths=",".join(PATHS))
    with (
        Nginx(gunicorn.port, backend.port, unchanged) as right,
        Nginx(gunicorn.port, backend.port, change) as wrong,
    ):
        assert [send(nginx, token, ["/admin"]) for nginx in (right, wrong)] == [[403], [200]]
