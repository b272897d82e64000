"""BACKENDS_FILE with real processes: clients know their tokens only, backends their own keys only."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from app.core.credentials import IDENTITY_HEADERS
from devkit.backend import Backend
from devkit.http import bearer, forwarded
from devkit.process import ROOT, Process
from devkit.programs import program
from devkit.proxies import Caddy, Envoy, Nginx, Proxy, recipe
from devkit.redis_server import RedisServer
from devkit.service import Gunicorn
from devkit.traefik import EntryPoint, Traefik
from devkit.waiting import until
from devkit.wire import exchange

pytestmark = pytest.mark.e2e

KEY, OTHER_KEY = "sk-hush-of-the-backend", "sk-hush-of-another"
HOST, PLAIN_HOST = "openai.example.com", "ollama.example.com"


class Keys(NamedTuple):
    """A folder with the file and the key in it."""

    folder: Path

    @property
    def file(self) -> Path:
        """Return the path of the file."""
        return self.folder / "backends.toml"

    def write(self, key: str, host: str = HOST) -> None:
        """Give the backend at *host* the *key*."""
        (self.folder / "openai").write_text(f"{key}\n")
        self.file.write_text(
            recipe("The file", "toml", "docs/backends.md")
            .replace("/run/secrets/openai", str(self.folder / "openai"))
            .replace(HOST, host)
        )


@pytest.fixture(scope="module", name="keys")
def _keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    keys = Keys(tmp_path_factory.mktemp("backends"))
    keys.write(KEY)
    return keys


@pytest.fixture(scope="module", name="logging_redis")
def _logging_redis() -> Iterator[RedisServer]:
    with RedisServer(aof=True, options=["--loglevel", "debug"]) as redis:
        yield redis


@pytest.fixture(scope="module", name="service")
def _service(logging_redis: RedisServer, keys: Keys) -> Iterator[Gunicorn]:
    options = {"web_concurrency": 1, "rate_limit_max": 0, "log_level": "debug"}
    with Gunicorn(logging_redis.port, backends_file=keys.file, **options) as service:
        yield service


@pytest.fixture(scope="module", name="token")
def _token(service: Gunicorn) -> str:
    return service.issue(HOST, PLAIN_HOST)


def values(backend: Backend, name: str) -> list[str]:
    """Return the values of a header in the last request that the backend received."""
    return [value for each, value in backend.seen[-1].headers if each.lower() == name]


def words(backend: Backend) -> set[str]:
    """Return all words in the requests that the backend received."""
    return set(re.findall(r"[\w-]+", str(backend.seen)))


@pytest.fixture(scope="module", name="lanes")
def _lanes(logging_redis: RedisServer, service: Gunicorn, keys: Keys) -> Iterator[tuple[int, int]]:
    """Run plain gunicorn beside the express lane, and return their ports."""
    options = {"web_concurrency": 1, "rate_limit_max": 0, "express_lane": "false"}
    with Gunicorn(logging_redis.port, backends_file=keys.file, **options) as plain:
        yield service.port, plain.port


@pytest.mark.parametrize("sent", [HOST, "OpenAI.example.com.:443", PLAIN_HOST, "x.test", "", "a,b"])
@pytest.mark.parametrize("good", [True, False])
def test_both_lanes(lanes: tuple[int, int], token: str, sent: str, *, good: bool) -> None:
    """Both lanes send the same bytes, with the key on the 200 for that host alone, however often."""
    headers = [*forwarded(sent), *bearer(token if good else "wrong")]
    fields = "".join(f"{name}: {value}\r\n" for name, value in [("Host", "x"), *headers])
    head = f"GET /auth HTTP/1.1\r\n{fields}\r\n".encode()

    lane, plain = (re.sub(rb"Date: [^\r]+", b"", exchange(port, head * 2)) for port in lanes)
    is_given = good and sent.lower().startswith(HOST)
    assert lane == plain
    assert lane.count(f"\r\nAuthorization: Bearer {KEY}\r\n".encode()) == (2 if is_given else 0)
    assert KEY.encode() not in lane or is_given


def test_two_hosts_in_turn(service: Gunicorn, token: str) -> None:
    """The cache of a worker never mixes the hosts of one token."""
    found = [service.auth(token, host).headers.get("authorization") for host in [HOST, PLAIN_HOST] * 3]

    assert found == [f"Bearer {KEY}", None] * 3


@pytest.fixture(scope="module", name="traefik")
def _traefik(service: Gunicorn, echo: Backend) -> Iterator[Traefik]:
    copied = ["Authorization", "X-Org", *IDENTITY_HEADERS]
    entry_points = {"web": EntryPoint(options={"authResponseHeaders": copied})}
    with Traefik(service.port, echo.port, entry_points, log_level="DEBUG") as traefik:
        yield traefik


@pytest.mark.parametrize("claim", ["X-Org", "x-org", "X_Org", "X.Org"])
def test_traefik(traefik: Traefik, backend: Backend, token: str, claim: str) -> None:
    """Traefik replaces the client's token by the key, and a client's header by the one of the file."""
    answer = traefik.call(token, HOST, [(claim, "forged")])

    assert answer.status == 200
    assert values(backend, "authorization") == [f"Bearer {KEY}"]
    assert values(backend, "x-org") == ["acme"]
    assert not {token, "forged"} & words(backend)
    assert KEY not in str(answer.all)


@pytest.mark.parametrize("claim", ["X-Org", "x-org", "X_Org", "X.Org"])
def test_traefik_without_an_entry(traefik: Traefik, backend: Backend, token: str, claim: str) -> None:
    """A backend without an entry receives no token, no key, and nothing that a client claims."""
    assert traefik.call(token, PLAIN_HOST, [(claim, "forged")]).status == 200

    assert values(backend, "authorization") == []
    assert not {token, KEY, "acme", "forged"} & words(backend)


def test_refusals(traefik: Traefik, service: Gunicorn, backend: Backend) -> None:
    """No refusal has a key."""
    elsewhere = service.issue("elsewhere.test")
    answers = [traefik.call(token, HOST) for token in (None, "wrong", elsewhere)]

    assert [answer.status for answer in answers] == [401, 401, 403]
    assert KEY not in str(answers)
    assert backend.hits == 0


def documented(kind: type[Proxy], *lines: str) -> Callable[[str], str]:
    """Return a function that changes these lines of a configuration as its page says."""
    text = (ROOT / kind.page()).read_text("utf-8")

    def change(config: str) -> str:
        for line in lines:
            found = re.search(
                rf"^- (?:Remove|Replace) `{re.escape(line)}`(?: with `(.*)`)?\.$", text, re.MULTILINE
            )
            assert found
            assert line in config
            config = config.replace(line, found[1] or "")
        return config

    return change


PROXIES = {
    Caddy: documented(
        Caddy, "copy_headers X-Auth-Token-Id X-Auth-Email X-Auth-Comment", "header_up -Authorization"
    ),
    Nginx: documented(
        Nginx,
        "auth_request_set $token_id $upstream_http_x_auth_token_id;",
        'proxy_set_header Authorization "";',
    ),
    Envoy: documented(
        Envoy,
        "patterns: [{prefix: x-auth-}]",
        "request_headers_to_remove: [authorization, x-forwarded-method, x-forwarded-uri]",
    ),
}


@pytest.fixture(scope="module", name="kind", params=PROXIES, ids=lambda kind: kind.name)
def _kind(request: pytest.FixtureRequest) -> type[Proxy]:
    kind: type[Proxy] = request.param
    program(kind.binary)
    return kind


def test_other_proxies(kind: type[Proxy], service: Gunicorn, backend: Backend, token: str) -> None:
    """With the changes on its page, another proxy gives a backend its key in place of the token."""
    with kind(service.port, backend.port, PROXIES[kind], HOST) as proxy:
        assert proxy.call(token).status == 200
        assert proxy.call("wrong").status == 401

    assert values(backend, "authorization") == [f"Bearer {KEY}"]
    assert token not in str(backend.seen)


def test_other_proxies_without_an_entry(
    kind: type[Proxy], service: Gunicorn, backend: Backend, token: str
) -> None:
    """Without an entry, the backend receives no token either, except from Envoy, of which the docs warn."""
    with kind(service.port, backend.port, PROXIES[kind], PLAIN_HOST) as proxy:
        assert proxy.call(token).status == 200

    assert values(backend, "authorization") == ([f"Bearer {token}"] if kind is Envoy else [])


class TestReload:
    """SIGHUP reads the file again."""

    @pytest.fixture(name="own")
    def _own(self, tmp_path: Path) -> Keys:
        own = Keys(tmp_path)
        own.write(KEY)
        return own

    @pytest.fixture(name="reloaded", params=["true", "false"], ids=["express", "plain"])
    def _reloaded(
        self, logging_redis: RedisServer, own: Keys, request: pytest.FixtureRequest
    ) -> Iterator[Gunicorn]:
        options = {"web_concurrency": 2, "express_lane": request.param}
        with Gunicorn(logging_redis.port, backends_file=own.file, **options) as service:
            yield service

    @staticmethod
    def _reload(service: Gunicorn) -> None:
        """Send SIGHUP and wait until all workers are new."""
        old = set(service.workers)
        service.signal(signal.SIGHUP)
        until(lambda: len(service.workers) == 2 and not old & set(service.workers))
        until(service.is_ready)

    def test_new_key(self, reloaded: Gunicorn, own: Keys) -> None:
        """A new key is given from the next reload on, and not before."""
        token = reloaded.issue(HOST)
        own.write(OTHER_KEY)
        assert reloaded.auth(token, HOST).headers["authorization"] == f"Bearer {KEY}"
        self._reload(reloaded)

        assert reloaded.auth(token, HOST).headers["authorization"] == f"Bearer {OTHER_KEY}"

    @pytest.mark.parametrize("damage", ["toml", "missing", "no key"])
    def test_not_valid(self, reloaded: Gunicorn, own: Keys, damage: str) -> None:
        """A file that is not valid leaves the last table in use, in new workers too, and is logged once."""
        token = reloaded.issue(HOST)
        if damage == "toml":
            own.file.write_text(f'headers = {{ Authorization = "{OTHER_KEY}"')
        else:
            (own.file if damage == "missing" else own.folder / "openai").unlink()
        self._reload(reloaded)
        _crash_a_worker(reloaded)

        answers = [reloaded.auth(token, HOST) for _ in range(8)]
        assert {answer.headers["authorization"] for answer in answers} == {f"Bearer {KEY}"}
        assert reloaded.log.count("BACKENDS_FILE is not valid, the last table stays in use: ") == 1
        assert "hush" not in reloaded.log

    def test_repaired(self, reloaded: Gunicorn, own: Keys) -> None:
        """A repaired file is read at the next reload."""
        token = reloaded.issue(HOST)
        own.file.write_text("hush")
        self._reload(reloaded)
        own.write(OTHER_KEY)
        self._reload(reloaded)

        assert reloaded.auth(token, HOST).headers["authorization"] == f"Bearer {OTHER_KEY}"


def _crash_a_worker(service: Gunicorn) -> None:
    """Kill a worker and wait until another one takes its place."""
    old = set(service.workers)
    os.kill(min(old), signal.SIGKILL)
    until(
        lambda: (
            len(service.workers) == 2 and service.workers != sorted(old) and min(old) not in service.workers
        )
    )
    until(service.is_ready)


@pytest.fixture(scope="module", name="used")
def _used(logging_redis: RedisServer, service: Gunicorn, traefik: Traefik, token: str) -> Gunicorn:
    """Return the service after requests of all kinds, in both lanes and through Traefik."""
    for host in (HOST, PLAIN_HOST):
        service.auth(token, host)
        service.auth(token, host, [("Expect", "100-continue")])
        service.auth("wrong", host)
        assert traefik.call(token, host).status == 200
    logging_redis.client().save()
    return service


@pytest.mark.parametrize("target", ["/", "/metrics", "/api/v1/tokens", "/api/v1/openapi.json", "/healthz"])
def test_pages_show_no_key(used: Gunicorn, target: str) -> None:
    """No page and no metric shows a key."""
    page = used.page(target)
    assert page.status == 200
    assert KEY not in f"{page.all} {page.text}"


@pytest.mark.parametrize("name", ["service", "logging_redis", "traefik"])
def test_files_have_no_key(request: pytest.FixtureRequest, used: Gunicorn, name: str) -> None:
    """No log and no dump has a key."""
    assert used.is_alive
    process: Process = request.getfixturevalue(name)
    written = b"\n".join(path.read_bytes() for path in process.dir.rglob("*") if path.is_file())

    assert len(written) > 500
    assert KEY.encode() not in written


def test_refused_file_is_not_repeated(logging_redis: RedisServer, keys: Keys, tmp_path: Path) -> None:
    """The message that stops the start has every problem and no value."""
    file = tmp_path / "bad.toml"
    file.write_text(
        keys.file.read_text() + f'\n[[backend]]\nhost = 1\nheaders = {{ Date = "{KEY}", X = "{KEY}\\n" }}'
    )
    service = Gunicorn(logging_redis.port, backends_file=file)
    with pytest.raises(RuntimeError) as caught, service:
        pass

    problems = re.findall(r"^  BACKENDS_FILE: (.*)$", str(caught.value), re.MULTILINE)
    assert len(problems) == 4
    assert "Traceback" not in str(caught.value)
    assert KEY not in str(caught.value)
