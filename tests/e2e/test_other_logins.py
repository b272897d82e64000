"""Applications with another sign-in, of their own or at a gate, behind a real Traefik: docs/recipes/."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from devkit.backend import Backend, EchoHandler, Seen
from devkit.http import Headers
from devkit.pages import run
from devkit.proxies import Change, Traefik, recipe, unchanged
from devkit.redis_server import RedisServer
from devkit.service import Gunicorn

pytestmark = pytest.mark.e2e

HOST = "app.example.com"
SIGNED_IN = ("Cookie", "session=ann")


class _GateHandler(EchoHandler):
    def answer(self, seen: Seen) -> None:
        """Answer as Authelia does: who it is, or where to sign in."""
        if seen.fields.get("cookie") == SIGNED_IN[1]:
            self.wfile.write(b"HTTP/1.1 200 OK\r\nRemote-User: ann\r\nContent-Length: 0\r\n\r\n")
        else:
            login = b"Location: https://login.example.com/\r\n"
            self.wfile.write(b"HTTP/1.1 302 Found\r\n" + login + b"Content-Length: 0\r\n\r\n")


class Documented(Traefik):
    """Traefik with the file of a page instead of README.md's."""

    def __init__(self, page: str, service: int, app: int, change: Change = unchanged, gate: int = 0) -> None:
        text = recipe("", "yaml", f"docs/recipes/{page}.md").replace("authelia:9091", f"127.0.0.1:{gate}")
        text = text.replace("app:3000", "ollama:11434")
        super().__init__(service, app, lambda _: change(text), HOST)

    def curl(self, commands: str, service: Gunicorn, token: str) -> str:
        """Run documented commands through it, and return what they print."""
        (service.dir / ".curlrc").write_text(f'connect-to = "{HOST}:80:127.0.0.1:{self.port}"\n')
        return run(commands.replace("https://", "http://"), service, TOKEN=token)


@pytest.fixture(scope="module", name="gate")
def _gate() -> Iterator[Backend]:
    with Backend(_GateHandler) as gate:
        yield gate


@pytest.fixture(scope="module", name="traefik")
def _traefik(service: Gunicorn, echo: Backend, gate: Backend) -> Iterator[Traefik]:
    with Documented(TestBesideSso.PAGE, service.port, echo.port, gate=gate.port) as traefik:
        yield traefik


@pytest.fixture(scope="module", name="by_header")
def _by_header(redis_server: RedisServer) -> Iterator[Gunicorn]:
    options = {"web_concurrency": 1, "credential_sources": "x-api-key"}
    with Gunicorn(redis_server.port, **options) as service:
        yield service


class TestBesideSso:
    """docs/recipes/beside-sso.md."""

    PAGE = "beside-sso"
    REMOTE, AUTH = ("Remote-User", "admin"), ("X-Auth-Email", "admin@example.com")

    @pytest.fixture(name="token")
    def _token(self, service: Gunicorn) -> str:
        return service.issue(HOST, email="bot@example.com")

    def test_documented_commands(self, traefik: Documented, service: Gunicorn, token: str) -> None:
        """Whoever has nothing is sent to the gate; a token is decided here, good or bad."""
        commands = recipe("What happens", "sh", f"docs/recipes/{self.PAGE}.md")
        printed = traefik.curl(commands, service, token)

        assert re.findall(r"HTTP/1.1 (\d+)", printed) == re.findall(r"# (\d+)", commands)
        assert "invalid token" in printed

    @pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
    def test_who_it_is(self, traefik: Traefik, backend: Backend, token: str, scheme: str) -> None:
        """The application learns who it is from the one that was asked, and nothing that a client claims."""
        alias = ("Remote_User", "admin")
        program = [("Authorization", f"{scheme} {token}"), self.REMOTE, alias, self.AUTH, SIGNED_IN]
        answers = [traefik.call(headers=each) for each in ([SIGNED_IN, self.REMOTE, self.AUTH], program)]
        person, bot = (seen.fields for seen in backend.seen)

        assert [answer.status for answer in answers] == [200, 200]
        assert (person["remote-user"], person.get("x-auth-email")) == ("ann", None)
        assert (bot.get("remote-user"), bot["x-auth-email"]) == (None, "bot@example.com")
        assert not {"authorization", "remote_user"} & bot.keys()

    @pytest.mark.parametrize("value", ["Bearer wrong", "Bearer", "bearer\twrong", "Basic YTpi"])
    def test_no_falling_through(self, traefik: Traefik, backend: Backend, value: str) -> None:
        """A wrong token is never saved by a session, and what is no token goes to the gate."""
        without, with_session = (
            traefik.call(headers=[("Authorization", value), *more]).status for more in ([], [SIGNED_IN])
        )

        assert (without, with_session) == ((401, 401) if value == "Bearer wrong" else (302, 200))
        assert backend.hits == (with_session == 200)

    def test_without_clean(self, service: Gunicorn, backend: Backend, gate: Backend, token: str) -> None:
        """Without `clean`, a program chooses its own Remote-User, and a person an X-Auth-Email."""
        naive = Documented(
            self.PAGE, service.port, backend.port, lambda text: text.replace("clean, ", ""), gate.port
        )
        with naive as traefik:
            assert traefik.call(token, headers=[self.REMOTE]).status == 200
            assert traefik.call(headers=[SIGNED_IN, self.AUTH]).status == 200

        assert backend.seen[0].fields["remote-user"] == "admin"
        assert backend.seen[1].fields["x-auth-email"] == "admin@example.com"

    def test_a_longer_rule(self, service: Gunicorn, backend: Backend, gate: Backend, token: str) -> None:
        """Without a list of its own, a further router of the host is open; a high priority hides programs."""
        open_router = "    health: {rule: Host(`app.example.com`) && Path(`/health`), service: app}\n"

        def naive(text: str) -> str:
            added = text.replace("  routers:\n", f"  routers:\n{open_router}")
            return added.replace("priority: 1\n", "priority: 3\n")

        with Documented(self.PAGE, service.port, backend.port, naive, gate.port) as traefik:
            assert traefik.call(target="/health").status == 200
            assert traefik.call(token).status == 302


class TestOwnAuthorization:
    """docs/recipes/own-authorization.md."""

    PAGE = "own-authorization"

    def test_documented_commands(self, by_header: Gunicorn, backend: Backend) -> None:
        """The application receives its own Authorization, and the token is taken away."""
        token = by_header.issue(HOST)
        with Documented(self.PAGE, by_header.port, backend.port) as traefik:
            traefik.curl(recipe("The client", "sh", f"docs/recipes/{self.PAGE}.md"), by_header, token)
            refused = traefik.call("gls_42")

        kept = [seen.fields["authorization"] for seen in backend.seen]
        assert kept == ["Basic YW5uOnNlY3JldA==", "Bearer gls_42"]
        assert token not in str(backend.seen)
        assert (refused.status, refused.text) == (401, "missing token")
        assert refused.headers["www-authenticate"].endswith('header="X-Api-Key"')

    def test_authorization_in_the_list(self, by_header: Gunicorn, backend: Backend) -> None:
        """With Authorization in the list of the answer, the application sees nobody signed in."""
        listed = ("authResponseHeaders: [", "authResponseHeaders: [Authorization, ")
        headers: Headers = [("X-Api-Key", by_header.issue(HOST)), ("Authorization", "Bearer gls_42")]
        naive = Documented(self.PAGE, by_header.port, backend.port, lambda text: text.replace(*listed))
        with naive as traefik:
            assert traefik.call(headers=headers).status == 200

        assert "authorization" not in backend.seen[0].fields
