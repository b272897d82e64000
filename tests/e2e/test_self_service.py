"""SELF_SERVICE behind a real Traefik with the documented route."""

from __future__ import annotations

import os
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shutil import which
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from app.core.holders import MAX_ROTATIONS
from devkit import traefik as forward_auth
from devkit.backend import Backend
from devkit.http import Answer, Connection, Headers, bearer, call
from devkit.proxies import Traefik, recipe
from devkit.redis_server import RedisServer
from devkit.service import Gunicorn
from devkit.traefik import EntryPoint

pytestmark = pytest.mark.e2e

PAGE, HOST = "docs/self-service.md", "self.example.com"
CLIENT = "127.0.0.9"
LIMIT = 5
JSON = [("Content-Type", "application/json")]
OPEN = {"/self", "/self/rotate"}
TARGETS = [
    *("/", "/self/", "/selfish", "/self/x", "/self/rotate/", "/self/rotated", "/selfrotate", "//self"),
    *(
        "/self//rotate",
        "/Self",
        "/self.",
        "/self%20",
        "/self%2frotate",
        "/self%2Frotate",
        "/sel%66",
        "/self;x",
    ),
    *("/self/..", "/self/../", "/self/../metrics", "/self/../api/v1/tokens", "/self/../auth"),
    *("/self/%2e%2e/metrics", "/self/%2e%2e%2fmetrics", "/self%2f..%2fmetrics", "/self/..%2fauth"),
    *("/self/rotate/../../metrics", "/self\\..\\metrics", "/self/..;/metrics", "/./self/../auth"),
    *("/auth", "/auth/self", "/auth?/self", "/healthz", "/livez", "/metrics", "/static/style.css"),
    *("/api/v1/tokens", "/api/v1/openapi.json", "/create_token", "/api/v1/../../self/../metrics"),
    *(f"http://{HOST}/metrics", f"http://{HOST}/self/../metrics", f"http://other.test{PAGE}", "*"),
]


class Route(Traefik):
    """Traefik with the documented route to a service on a port."""

    def __init__(self, port: int) -> None:
        super().__init__(port, 0, lambda _: recipe("Traefik", "yaml", PAGE), HOST)

    def is_ready(self) -> bool:
        """Return whether the route is loaded."""
        return self.call(target="/self").status != 404


@pytest.fixture(scope="module", name="gunicorn")
def _gunicorn() -> Iterator[Gunicorn]:
    settings = {"self_service": "full", "trusted_proxies": "127.0.0.1", "fail_limit_max": LIMIT}
    with RedisServer() as redis, Gunicorn(redis.port, web_concurrency=2, **settings) as service:
        yield service


@pytest.fixture(scope="module", name="route")
def _route(gunicorn: Gunicorn) -> Iterator[Route]:
    with Route(gunicorn.port) as route:
        yield route


def ask(route: Route, secret: str | None, method: str = "GET", path: str = "/self", **more: Any) -> Answer:
    """Send a request of a holder through Traefik."""
    return route.call(secret, target=path, method=method, **more)


def from_address(route: Route, source: str, secret: str, headers: Headers = ()) -> Answer:
    """Request /self from a loopback address."""
    with Connection(route.port, source=source) as connection:
        return connection.call("/self", [("Host", HOST), *bearer(secret), *headers])


def test_only_self_is_reachable(backend: Backend) -> None:
    """However a target is spelled, Traefik passes on /self and /self/rotate of that host and nothing else."""
    with Route(backend.port) as route:
        backend.seen.clear()
        statuses = [route.call(target=target).status for target in (*TARGETS, *OPEN, "/self?x=/auth")]
        others = [route.call(host=host, target="/self").status for host in ("other.test", f"x.{HOST}")]

    assert {seen.path.partition("?")[0] for seen in backend.seen} == OPEN
    assert (statuses[-3:], others) == ([200] * 3, [404] * 2)
    assert statuses.count(404) > len(TARGETS) / 2


def test_rest_of_the_service(route: Route, gunicorn: Gunicorn) -> None:
    """Nothing else of the service is reachable, even with the operator's password."""
    secret = gunicorn.issue()
    for path in ("/", "/api/v1/tokens", "/metrics", "/auth", "/healthz", "/static/style.css"):
        answer = ask(route, secret, path=path)
        assert (answer.status, answer.text) == (404, "404 page not found\n")
    assert ask(route, secret).json()["hosts"] == ["a.test"]


def test_forwarded_headers(route: Route, gunicorn: Gunicorn) -> None:
    """Headers that a client forges neither make its request a sub-request nor move it elsewhere."""
    secret = gunicorn.issue(networks=f"{CLIENT}/32")
    forged = [("X-Forwarded-Method", "GET"), ("X-Forwarded-Uri", "/auth"), ("X-Forwarded-Host", "a.test")]
    forged += [("X-Forwarded-For", CLIENT), ("X-Real-Ip", CLIENT), ("Forwarded", f"for={CLIENT}")]
    here, elsewhere = (
        from_address(route, CLIENT, secret, forged),
        from_address(route, "127.0.0.8", secret, forged),
    )

    assert here.status == 200
    assert (elsewhere.status, elsewhere.json()["detail"]) == (403, "forbidden for network")


def test_subrequest(gunicorn: Gunicorn, backend: Backend) -> None:
    """A ForwardAuth that asks /self by mistake lets nothing through."""
    secret = gunicorn.issue()
    address = f"http://127.0.0.1:{gunicorn.port}/self"
    with forward_auth.Traefik(gunicorn.port, backend.port, {"web": EntryPoint(address)}) as traefik:
        backend.seen.clear()
        statuses = [traefik.call(secret, method=method).status for method in ("GET", "POST", "DELETE")]

    assert (statuses, backend.hits) == ([403, 403, 403], 0)
    assert gunicorn.auth(secret).status == 200


def test_failed_tries(route: Route, gunicorn: Gunicorn) -> None:
    """Bad tokens count for the client that Traefik reports, whatever it claims, and for no other."""
    secret = gunicorn.issue()
    claims = [[("X-Forwarded-For", f"203.0.113.{number}")] for number in range(LIMIT + 1)]
    statuses = [from_address(route, "127.0.1.1", "not-ours", claim).status for claim in claims]

    assert statuses == [401] * LIMIT + [429]
    assert from_address(route, "127.0.1.2", secret).status == 200


def test_rotations_at_once(route: Route, gunicorn: Gunicorn) -> None:
    """Of as many rotations at once as an hour has, one succeeds, and there is one new secret."""
    secret = gunicorn.issue()
    body = {"headers": JSON, "body": b'{"grace_seconds": 60}'}
    with ThreadPoolExecutor(MAX_ROTATIONS) as pool:
        answers = [
            *pool.map(lambda _: ask(route, secret, "POST", "/self/rotate", **body), range(MAX_ROTATIONS))
        ]
    new = next(answer.json()["token"] for answer in answers if answer.status == 201)

    assert Counter(answer.status for answer in answers) == {201: 1, 409: MAX_ROTATIONS - 1}
    assert [gunicorn.auth(each).status for each in (secret, new)] == [200, 200]
    assert ask(route, secret, "DELETE").status == 204
    assert [gunicorn.auth(each).status for each in (secret, new)] == [401, 200]
    assert ask(route, new, "DELETE").status == 204
    assert gunicorn.auth(new).status == 401


def test_secrets_stay_in_one_answer(route: Route, gunicorn: Gunicorn) -> None:
    """Neither secret is in the log."""
    secret = gunicorn.issue()
    new = ask(route, secret, "POST", "/self/rotate").json()["token"]
    ask(route, new, "DELETE")

    assert "the holder rotated the token" in gunicorn.log
    assert "the holder deleted the token" in gunicorn.log
    assert not [each for each in (secret, new) if each in gunicorn.log]


def test_oversized_head(gunicorn: Gunicorn) -> None:
    """What gunicorn refuses is a problem here too."""
    answer = call(gunicorn.port, "/self", [("X-A", "a" * 300 * 1024)])

    assert (answer.status, answer.headers["content-type"]) == (431, "application/problem+json")


def test_labels() -> None:
    """The documented labels have the rule of the file."""
    labels = dict(line.split("=", 1) for line in recipe("Traefik", "text", PAGE).splitlines())
    router = yaml.safe_load(recipe("Traefik", "yaml", PAGE))["http"]["routers"]["self"]

    assert labels["traefik.http.routers.self.rule"] == router["rule"]
    assert labels["traefik.http.routers.self.service"] == router["service"]


@pytest.mark.skipif(not which("curl"), reason="there is no curl on the PATH")
class TestCommands:
    """The documented commands, run as they are printed."""

    @pytest.fixture(autouse=True)
    def _curl(self, route: Route, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let curl find the host of the page."""
        (tmp_path / ".curlrc").write_text(f'connect-to = "::127.0.0.1:{route.port}"\nnoproxy = "*"\n')
        monkeypatch.setenv("HOME", str(tmp_path))

    def run(self, script: str, *args: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run *script* without TLS."""
        plain = script.replace("https://", "http://")
        argv = ["sh", "-c", plain, "rotate-token", *args]
        return subprocess.run(argv, env=os.environ | environ, capture_output=True, text=True, check=False)

    def test_examples(self, gunicorn: Gunicorn) -> None:
        """The token is shown, rotated and, by its old secret, ended as far as that goes."""
        secret = gunicorn.issue(comment="nightly")
        result = self.run(recipe("", "sh", PAGE), TOKEN=secret)
        new = re.search(r'"token":"(acl_\w+)"', result.stdout)

        assert new, result
        assert result.stdout.count('"comment":"nightly"') == 2
        assert [gunicorn.auth(each).status for each in (secret, new[1])] == [401, 200]
        self.run(recipe("A leaked token", "sh", PAGE), FOUND=new[1])
        assert gunicorn.auth(new[1]).status == 401

    def test_nightly_job(self, gunicorn: Gunicorn, tmp_path: Path) -> None:
        """Each run puts a new secret into the file; those before work until their grace period ends."""
        script, file = recipe("A job that rotates its own token", "sh", PAGE), tmp_path / "token"
        file.write_text(gunicorn.issue())
        secrets = [file.read_text().strip()]
        for _ in range(2):
            result = self.run(script, str(file), f"http://{HOST}")
            assert (result.returncode, result.stdout) == (0, ""), result
            secrets.append(file.read_text().strip())

        assert len(set(secrets)) == 3
        assert [gunicorn.auth(secret).status for secret in secrets] == [200, 200, 200]
        assert (file.stat().st_mode & 0o777, len([*tmp_path.iterdir()])) == (0o600, 2)

    @pytest.mark.parametrize("trouble", ["replaced", "wrong", "unreachable"])
    def test_failed_job(self, route: Route, gunicorn: Gunicorn, tmp_path: Path, trouble: str) -> None:
        """A run that fails says so and leaves the file as it was."""
        script, file = recipe("A job that rotates its own token", "sh", PAGE), tmp_path / "token"
        secret = gunicorn.issue()
        file.write_text("not-ours" if trouble == "wrong" else secret)
        if trouble == "replaced":
            ask(route, secret, "POST", "/self/rotate", headers=JSON, body=b'{"grace_seconds": 60}')
        if trouble == "unreachable":
            (tmp_path / ".curlrc").write_text('connect-to = "::127.0.0.1:1"\n')
        before = file.read_text()
        result = self.run(script, str(file), f"http://{HOST}")

        assert result.returncode == 1
        assert {"replaced": "409", "wrong": "invalid token", "unreachable": "curl"}[trouble] in result.stderr
        assert (file.read_text(), len([*tmp_path.iterdir()])) == (before, 2)
