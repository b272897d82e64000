"""Mixed valid and invalid requests through a real Traefik: only valid ones reach the backend."""

from __future__ import annotations

from collections import Counter

import pytest

from devkit import http2
from devkit.backend import Backend
from devkit.flood import flood, size
from devkit.http import Connection
from devkit.redis_server import RedisServer
from devkit.service import Gunicorn
from devkit.storm import CONTROL, controls, storm
from devkit.traefik import Traefik

pytestmark = pytest.mark.e2e

ENTRY_POINTS = ["web", "insecure", "all-headers", "same-method"]


@pytest.fixture(name="other_token")
def _other_token(service: Gunicorn) -> str:
    """Issue a token for b.test."""
    return service.issue("b.test")


def test_storm(traefik: Traefik, backend: Backend, token: str, other_token: str) -> None:
    """The backend receives every valid request once; all others get a 4xx, 503 or 504."""
    tally = storm([traefik.ports[entry_point] for entry_point in ENTRY_POINTS], (token, other_token), 2_400)

    assert len(tally) == 2_400
    assert set(tally.named(CONTROL).statuses) == {200}
    attacks = tally.where(lambda exchange: exchange.request.name != CONTROL)
    assert [status for status in attacks.statuses if status < 400 or status in {500, 502}] == []
    assert Counter(seen.path for seen in backend.seen) == controls(tally)


def test_storm_with_bodies(traefik: Traefik, backend: Backend, token: str, other_token: str) -> None:
    """The same holds for a Traefik that forwards bodies, though its own refusals may be a 500."""
    tally = storm([traefik.ports["with-body"]], (token, other_token), 600, seed=1)

    assert set(tally.named(CONTROL).statuses) == {200}
    assert Counter(seen.path for seen in backend.seen) == controls(tally)


@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
def test_absolute_form(traefik: Traefik, backend: Backend, token: str, entry_point: str) -> None:
    """Routing, decision and backend all use the host in an absolute request line."""
    for target, host, status in (("http://b.test/", "a.test", 403), ("http://a.test/", "b.test", 200)):
        with Connection(traefik.ports[entry_point]) as connection:
            headers = [("Host", host), ("Authorization", f"Bearer {token}")]
            assert connection.call(target, headers).status == status
    assert [dict(seen.headers)["Host"] for seen in backend.seen] == ["a.test"]


@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
def test_http2_authority(traefik: Traefik, backend: Backend, token: str, entry_point: str) -> None:
    """With HTTP/2, routing, decision and backend all use :authority, regardless of a host header."""
    allowed = {}
    for authority, host in (("a.test", ""), ("b.test", ""), ("b.test", "a.test"), ("a.test", "b.test")):
        pseudo = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", authority)]
        more = [("host", host)] if host else []
        fields = [*pseudo, *more, ("authorization", f"Bearer {token}")]
        allowed[authority, host] = http2.is_ok(traefik.ports[entry_point], fields)

    assert allowed.pop(("a.test", ""))
    assert not allowed["b.test", ""]
    assert not allowed["b.test", "a.test"]
    assert {dict(seen.headers)["Host"] for seen in backend.seen} == {"a.test"}


def test_http2_without_a_token(traefik: Traefik, backend: Backend) -> None:
    """With HTTP/2, a request without a valid token is refused."""
    pseudo = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a.test")]

    assert not http2.is_ok(traefik.port, pseudo)
    assert not http2.is_ok(traefik.port, [*pseudo, ("authorization", "Bearer unknown")])
    assert backend.hits == 0


def test_flood_of_unknown_tokens() -> None:
    """Unknown tokens leave no keys and use no memory in Redis, although each is looked up."""
    options = {"web_concurrency": 1, "redis_deadline_ms": 5000, "log_level": "warning"}
    with RedisServer() as server, Gunicorn(server.port, **options) as service:
        redis = server.client()
        known = service.issue("a.test")
        assert flood(service.port, 2_000) == {401: 2_000}
        before = size(redis)
        assert flood(service.port, 20_000) == {401: 20_000}
        after = size(redis)

        assert (after.keys, after.scripts - before.scripts) == (before.keys, 20_000)
        assert after.memory_bytes - before.memory_bytes < 1_000_000
        assert service.auth(known).status == 200
