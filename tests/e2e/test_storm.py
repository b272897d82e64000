"""Through a real Traefik: what must not reach the backend does not, and what must does."""

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


@pytest.fixture(name="other")
def _other(service: Gunicorn) -> str:
    """Return a new token that opens b.test."""
    return service.issue("b.test")


def test_storm(traefik: Traefik, backend: Backend, token: str, other: str) -> None:
    """The backend sees the good requests alone, each once; the others get no 2xx and no 500."""
    tally = storm([traefik.ports[entry_point] for entry_point in ENTRY_POINTS], (token, other), 2_400)

    assert len(tally) == 2_400
    assert set(tally.named(CONTROL).statuses) == {200}
    attacks = tally.where(lambda exchange: exchange.request.name != CONTROL)
    assert [status for status in attacks.statuses if status < 400 or status in {500, 502}] == []
    assert Counter(seen.path for seen in backend.seen) == controls(tally)


def test_storm_with_bodies(traefik: Traefik, backend: Backend, token: str, other: str) -> None:
    """Nor does a Traefik that forwards bodies let any other through; what it refuses itself may be a 500."""
    tally = storm([traefik.ports["with-body"]], (token, other), 600, seed=1)

    assert set(tally.named(CONTROL).statuses) == {200}
    assert Counter(seen.path for seen in backend.seen) == controls(tally)


@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
def test_absolute_form(traefik: Traefik, backend: Backend, token: str, entry_point: str) -> None:
    """The host in the request line is the one that is routed by, decided by and told to the backend."""
    for target, host, status in (("http://b.test/", "a.test", 403), ("http://a.test/", "b.test", 200)):
        with Connection(traefik.ports[entry_point]) as connection:
            headers = [("Host", host), ("Authorization", f"Bearer {token}")]
            assert connection.call(target, headers).status == status
    assert [dict(seen.headers)["Host"] for seen in backend.seen] == ["a.test"]


@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
def test_http2_authority(traefik: Traefik, backend: Backend, token: str, entry_point: str) -> None:
    """With HTTP/2 it is the :authority, whatever a host field beside it says."""
    told = {}
    for authority, host in (("a.test", ""), ("b.test", ""), ("b.test", "a.test"), ("a.test", "b.test")):
        pseudo = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", authority)]
        more = [("host", host)] if host else []
        fields = [*pseudo, *more, ("authorization", f"Bearer {token}")]
        told[authority, host] = http2.is_ok(traefik.ports[entry_point], fields)

    assert told.pop(("a.test", ""))
    assert not told["b.test", ""]
    assert not told["b.test", "a.test"]
    assert {dict(seen.headers)["Host"] for seen in backend.seen} == {"a.test"}


def test_http2_without_a_token(traefik: Traefik, backend: Backend) -> None:
    """Without a token HTTP/2 opens nothing either."""
    pseudo = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a.test")]

    assert not http2.is_ok(traefik.port, pseudo)
    assert not http2.is_ok(traefik.port, [*pseudo, ("authorization", "Bearer unknown")])
    assert backend.hits == 0


def test_flood_of_unknown_tokens() -> None:
    """Tokens that nobody issued cost Redis no key and no memory, though it is asked about each."""
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
