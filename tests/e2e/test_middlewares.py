"""docs/recipes/traefik.md with a real Traefik: its labels, and the order of its middlewares."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection

import pytest
import yaml  # type: ignore[import-untyped]

from devkit.backend import Backend
from devkit.http import Answer, bearer
from devkit.pages import run
from devkit.ports import free_port
from devkit.proxies import HOST, EventsBackend, LabeledTraefik, Traefik, recipe
from devkit.service import Gunicorn
from tests.e2e.test_proxies import counters

pytestmark = pytest.mark.e2e

PAGE = "docs/recipes/traefik.md"
ADDED = yaml.safe_load(recipe("Other middlewares", "yaml", PAGE))["http"]
DOCUMENTED = ADDED["routers"]["ollama"]["middlewares"]
ORIGIN = ("Origin", "https://app.example.com")
PREFLIGHT = [
    ORIGIN,
    ("Access-Control-Request-Method", "POST"),
    ("Access-Control-Request-Headers", "authorization"),
]


class Ordered(Traefik):
    """Traefik with README.md's file, the middlewares of the page, and *names* as the order of a router's."""

    def __init__(self, auth: int, backend: int, *names: str) -> None:
        super().__init__(auth, backend, lambda text: _ordered(text, names))


def _ordered(text: str, names: tuple[str, ...]) -> str:
    http = yaml.safe_load(text)["http"]
    http["middlewares"] |= ADDED["middlewares"]
    http["routers"]["ollama"] = ADDED["routers"]["ollama"] | {"middlewares": list(names)}
    return str(yaml.safe_dump({"http": http}))


@pytest.fixture(scope="module", name="events")
def _events() -> Iterator[EventsBackend]:
    with EventsBackend() as events:
        yield events


@pytest.fixture(name="token")
def _token(service: Gunicorn) -> str:
    return service.issue(HOST)


def preflight(traefik: Traefik) -> Answer:
    """Ask as a browser does before it sends a token from another site."""
    return traefik.call(method="OPTIONS", headers=PREFLIGHT)


def test_cors(service: Gunicorn, backend: Backend, token: str) -> None:
    """Before ours, CORS answers the preflight itself, and another site can read a refusal."""
    with Ordered(service.port, backend.port, *DOCUMENTED) as traefik:
        asked, refused = preflight(traefik), traefik.call("wrong", headers=[ORIGIN])
        allowed = traefik.call(token, headers=[ORIGIN])

    assert [asked.status, refused.status, allowed.status] == [200, 401, 200]
    assert all(each.headers["access-control-allow-origin"] == ORIGIN[1] for each in (asked, refused, allowed))
    assert refused.headers["access-control-expose-headers"] == "Retry-After"
    assert [seen.method for seen in backend.seen] == ["GET"]


def test_cors_after_ours(service: Gunicorn, backend: Backend) -> None:
    """After ours, the preflight is refused, and another site can't read why."""
    with Ordered(service.port, backend.port, "token", "cors") as traefik:
        answers = [preflight(traefik), traefik.call("wrong", headers=[ORIGIN])]

    assert [answer.status for answer in answers] == [401, 401]
    assert not any("access-control-allow-origin" in answer.headers for answer in answers)


@pytest.mark.parametrize(("names", "permits"), [(DOCUMENTED, 1), (["retry", "token"], 3)])
def test_retry(service: Gunicorn, token: str, names: list[str], permits: int) -> None:
    """Retries at a backend that is down take one permit after ours, and one for each attempt before it."""
    with Ordered(service.port, free_port(), *names) as traefik:
        before = counters(service)["decisions"]  # after the probes of the start
        assert traefik.call(token).status == 502

    assert counters(service)["decisions"] - before == permits


def test_prefix(service: Gunicorn, backend: Backend) -> None:
    """Before ours, StripPrefix lets a token's paths be those of the backend; after it, those of clients."""
    inner, outer = (service.issue(HOST, paths=path) for path in ("/v1/models", "/llm/v1/models"))
    for names, allowed in ((DOCUMENTED, inner), (["token", "strip"], outer)):
        with Ordered(service.port, backend.port, *names) as traefik:
            statuses = {
                secret: traefik.call(secret, target="/llm/v1/models").status for secret in (inner, outer)
            }
        assert [secret for secret, status in statuses.items() if status == 200] == [allowed]

    assert [seen.path for seen in backend.seen] == ["/v1/models"] * 2


@pytest.mark.parametrize("names", [["compress", "token"], ["token", "compress"]])
def test_compression(service: Gunicorn, events: EventsBackend, token: str, names: list[str]) -> None:
    """In either place large responses are compressed, refusals are not, and streams arrive piece by piece."""
    encoding = [("Accept-Encoding", "gzip")]
    with Ordered(service.port, events.port, *names) as traefik:
        target = "/?" + "q" * 5000
        answers = [traefik.call(each, headers=encoding, target=target) for each in (token, "wrong")]
        first = first_event(traefik.port, token)
        events.go_on.set()

    assert [answer.headers.get("content-encoding") for answer in answers] == ["gzip", None]
    assert (answers[1].text, first) == ("invalid token", b"data: 1\n\n")


def first_event(port: int, token: str) -> bytes:
    """Return the first event of a compressed stream, which the second one follows only later."""
    with closing(HTTPConnection("127.0.0.1", port, timeout=60)) as client:
        headers = dict([("Host", HOST), ("Accept-Encoding", "gzip"), *bearer(token)])
        client.request("GET", "/events", headers=headers)
        response, inflated, text = client.getresponse(), zlib.decompressobj(31), b""
        assert response.headers["Content-Encoding"] == "gzip"
        while not text:
            text += inflated.decompress(response.read1())
        return text


def test_labels(service: Gunicorn, backend: Backend, token: str) -> None:
    """The Compose file's labels protect the backend, and publish nothing else."""
    with LabeledTraefik(service.port, backend.port) as traefik:
        (service.dir / ".curlrc").write_text(f'connect-to = "{HOST}:80:127.0.0.1:{traefik.port}"\n')
        printed = run(recipe("Try it", "sh", PAGE), service, TOKEN=token)
        assert {traefik.call(token, f"{name}-home").status for name in ("auth", "redis", "ollama")} == {404}

    assert re.findall(r"HTTP/1.1 (\d+)", printed) == ["401", "401", "200"]
    assert "X-Auth-Token-Id" in dict(backend.seen[0].headers)
    assert token not in str(backend.seen)
