"""The texts that README.md and docs/ quote are those of the service."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import pytest
from flask.testing import FlaskClient

from app.backends_file import BackendsFile, read
from app.core.backends import NONE, Backends
from app.core.declared import Declarations
from app.core.limits import Refusal
from app.core.logins import WRONG_PER_CLIENT
from app.core.verdicts import Decision, Identity, Verdict
from app.services import services_of
from app.tokens_file import TokensFile
from app.tokens_toml import read as read_tokens
from app.web.answers import OUTCOMES, render
from app.worker.applying import apply_in_turn
from devkit.builders import make_settings
from devkit.ports import free_port
from tests.web.conftest import OPERATOR

ROOT = Path(__file__).parents[2]
TROUBLES = "docs/troubleshooting.md", "Troubleshooting"
PEER = {"REMOTE_ADDR": "172.18.0.2"}
WRONG = ("operator", "a-guess")


def table(page: str, section: str) -> list[list[str]]:
    """Return the cells of the table under a heading of *page*, row by row."""
    text = re.split(rf"^#+ {section}\n", (ROOT / page).read_text("utf-8"), flags=re.MULTILINE)[1]
    rows = re.findall(r"^\|(.*)\|$", text.split("\n#")[0], re.MULTILINE)[2:]
    return [[cell.strip() for cell in row.split("|")] for row in rows]


def in_backquotes(text: str) -> list[str]:
    """Return the backquoted parts of *text*."""
    return re.findall(r"`([^`]+)`", text)


def quoted(page: str, section: str, column: int) -> list[list[str]]:
    """Return the backquoted parts of one column of the table under a heading of *page*, row by row."""
    return [in_backquotes(row[column]) for row in table(page, section)]


RESPONSES = [
    (word, row) for row in table("README.md", "Responses of /auth") for word in in_backquotes(row[0])
]


class Service:
    """The app and everything it has returned and logged."""

    def __init__(self, make_client: Callable[..., FlaskClient], caplog: pytest.LogCaptureFixture) -> None:
        self._make_client = make_client
        self._caplog = caplog
        self._bodies = ""
        self.client = make_client()
        caplog.set_level("INFO")

    @property
    def output(self) -> str:
        """Return all responses and log lines."""
        return self._bodies + self._caplog.text

    def set(self, **settings: Any) -> None:
        """Restart the app with *settings*."""
        self.client = self._make_client(**settings)

    def get(self, path: str, times: int = 1, **request: Any) -> None:
        """Request *path*."""
        for _ in range(times):
            self._bodies += self.client.get(path, environ_overrides=PEER, **request).text

    def auth(self, token: str, host: str = "a.test", times: int = 1) -> None:
        """Request /auth."""
        headers = {
            "Authorization": f"Bearer {token}",
            "X-Forwarded-Host": host,
            "X-Forwarded-For": "203.0.113.9",
            "X-Forwarded-Method": "POST",
            "X-Forwarded-Uri": "/",
        }
        self.get("/auth", times, headers=headers)

    def issue(self, **fields: Any) -> str:
        """Return the secret of a token for b.test, with these *fields*."""
        sent = self.client.post("/api/v1/tokens", json={"hosts": ["b.test"]} | fields, auth=OPERATOR)
        self._bodies += sent.text
        return str(sent.get_json().get("token"))

    def exceed_quota(self) -> None:
        """Send two requests with a token for one in a month."""
        self.auth(self.issue(quota_max=1, quota_period="month"), "b.test", times=2)

    def restrict_without_proxies(self) -> None:
        """Ask for a token with networks, without TRUSTED_PROXIES."""
        self.issue(networks=["192.0.2.0/24"])

    def leave_the_network(self) -> None:
        """Send a token from outside of its networks."""
        self.set(TRUSTED_PROXIES="172.18.0.0/16")
        self.auth(self.issue(networks=["192.0.2.0/24"]), "b.test")

    def rotate_twice(self) -> None:
        """Rotate a token by itself, and once more by the secret that was replaced."""
        self.set(SELF_SERVICE="full")
        headers = {"Authorization": f"Bearer {self.issue()}"}
        for _ in range(2):
            sent = self.client.post("/self/rotate", json={"grace_seconds": 60}, headers=headers)
            self._bodies += sent.text

    def post_from_elsewhere(self) -> None:
        """Submit a form from another site."""
        headers = {"Origin": "https://evil.test"}
        self._bodies += self.client.post("/create_token", auth=OPERATOR, headers=headers).text

    def lose_redis(self) -> None:
        """Restart the app without Redis."""
        self.set(REDIS_PORT=free_port())

    def log_everything(self) -> None:
        """Send an allowed request to an app that logs all of them."""
        self._caplog.set_level("DEBUG")
        self.set(LOG_LEVEL="debug")
        self.auth(self.issue(), "b.test")

    def limit_failures(self) -> None:
        """Restart the app with FAIL_LIMIT_MAX."""
        self.set(FAIL_LIMIT_MAX="1", TRUSTED_PROXIES="172.18.0.0/16")

    def apply_tokens(self, **settings: Any) -> None:
        """Apply a file with one token as a worker does that has time for one attempt."""
        with NamedTemporaryFile("w", suffix=".toml") as file:
            file.write(f'[tokens.ci]\nhosts = ["b.test"]\nsha256 = "{"ab" * 32}"\n')
            file.flush()
            self.set(TOKENS_FILE=file.name, **settings)
        attempts = iter([True, False])
        apply_in_turn(services_of(self.client.application), lambda: next(attempts))


Act = Callable[[Service], None]


def reload(read: Callable[[str], Backends]) -> None:
    """Reload a BACKENDS_FILE that *read* reads."""
    file = BackendsFile(lambda path: read(path) if path else NONE)
    file.load("")
    file.expire()
    file.load("/nowhere")


def reload_tokens(_: Service) -> None:
    """Reload a TOKENS_FILE that has become invalid."""
    file = TokensFile(lambda path: read_tokens(path) if path else Declarations())
    file.load("")
    file.expire()
    file.load("/nowhere")


def after(first: Callable[[Service], Any], then: Act) -> Act:
    """Return one act after another."""

    def act(service: Service) -> None:
        first(service)
        then(service)

    return act


N = WRONG_PER_CLIENT.max_requests
# The act that produces each text.
ANSWERS: dict[str, Act] = {
    "this address does not serve ForwardAuth": lambda service: service.get(
        "/", headers={"X-Forwarded-Uri": "/"}
    ),
    "forbidden for host": lambda service: service.auth(service.issue()),
    "forbidden for method": lambda service: service.auth(service.issue(methods=["GET"]), "b.test"),
    "forbidden for path": lambda service: service.auth(service.issue(paths=["/v1/*"]), "b.test"),
    "forbidden for network": Service.leave_the_network,
    "quota exceeded": Service.exceed_quota,
    "set TRUSTED_PROXIES first": Service.restrict_without_proxies,
    "redis unavailable": after(Service.lose_redis, lambda service: service.auth("x")),
    "came from another site": Service.post_from_elsewhere,
    "too many wrong passwords": lambda service: service.get("/", N + 1, auth=WRONG),
    "the Host header is not a valid host": lambda service: service.get("/", headers={"Host": "a..b"}),
    "proxy_set_header Host $http_host;": Service.post_from_elsewhere,
    "this secret was replaced": Service.rotate_twice,
}
LINES: dict[str, Act] = {
    "refused verdict=": lambda service: service.auth("x"),
    "allowed token=": Service.log_everything,
    "no decision, redis unavailable: ": after(Service.lose_redis, lambda service: service.auth("x")),
    "healthz, redis unavailable: ": after(Service.lose_redis, lambda service: service.get("/healthz")),
    "no page, redis unavailable: ": after(
        Service.lose_redis, lambda service: service.get("/api/v1/tokens", auth=OPERATOR)
    ),
    "wrong user name or password client=": lambda service: service.get("/", auth=WRONG),
    "too many wrong passwords client=": lambda service: service.get("/", N + 1, auth=WRONG),
    "the holder rotated the token token=": Service.rotate_twice,
    "BACKENDS_FILE is not valid, the last table stays in use: ": lambda _: reload(read),
    "BACKENDS_FILE was read again": lambda _: reload(lambda _: NONE),
    "TOKENS_FILE: ": Service.apply_tokens,
    "TOKENS_FILE was applied: ": Service.apply_tokens,
    "TOKENS_FILE is not applied yet: ": lambda service: service.apply_tokens(REDIS_PORT=free_port()),
    "TOKENS_FILE is not valid, nothing was changed: ": reload_tokens,
    "refused verdict=throttled_client": after(
        Service.limit_failures, lambda service: service.auth("x", times=2)
    ),
}


@pytest.fixture
def service(make_client: Callable[..., FlaskClient], caplog: pytest.LogCaptureFixture) -> Service:
    """Return a service with no output yet."""
    return Service(make_client, caplog)


@pytest.mark.parametrize(("words", "act"), (ANSWERS | LINES).items())
def test_quoted_texts(service: Service, words: str, act: Act) -> None:
    """Each text that the documents quote appears where it should."""
    act(service)

    assert words.casefold() in service.output.casefold()  # a page begins with a capital


def test_troubleshooting() -> None:
    """Every response quoted in the table is tested here, except commands and messages of other programs."""
    words = {text for row in quoted(*TROUBLES, 0) + quoted(*TROUBLES, 1) for text in row}
    # The first three are messages of other programs. The others are tried in tests/e2e/test_incidents.py and
    # tests/web/test_bad_records.py.
    others = {'unsupported protocol scheme ""', "Invalid Host header", "upstream sent too big header"}
    others |= {"PEPPER is not the one", "its memory is full", "several records in Redis go by the id …"}

    assert {
        text for text in words - others if " " in text and not text.startswith("flask ")
    } == ANSWERS.keys()


def test_lines_of_the_log() -> None:
    """Every log line in docs/operations.md is tested here, with all its fields."""
    shown = [text for row in quoted("docs/operations.md", "Logs", 0) for text in row]

    assert {text.partition("…")[0] for text in shown} <= LINES.keys()
    assert re.findall(r"(\w+)=…", shown[0]) == ["verdict", "token", "host", "client"]
    assert re.findall(r"(\w+)=…", shown[1]) == ["verdict", "token", "path", "client"]


def test_answers_of_auth() -> None:
    """The table of responses has every verdict exactly once."""
    assert sorted(word for word, _ in RESPONSES) == sorted(OUTCOMES)


@pytest.mark.parametrize(("word", "row"), RESPONSES)
def test_answer_of_auth(word: str, row: list[str]) -> None:
    """Each row has the response's status, body, challenge and other headers."""
    verdict, settings = Verdict(word), make_settings()
    outcome = OUTCOMES[verdict]
    identity = Identity(b"", b"", b"") if outcome.status == 200 else None
    refusal = Refusal(settings.limit, 1) if outcome.status == 429 else None
    sent = render(Decision(verdict, identity, refusal), settings)
    headers = dict(sent.headers)
    challenge = headers.pop("WWW-Authenticate", "").replace(settings.auth_realm, "…")

    assert (
        (row[2], row[3]) == (str(outcome.status), f"`{outcome.body}`") == (str(sent.status), f"`{sent.body}`")
    )
    assert row[4] == (f"`{challenge}`" if challenge else "")
    assert headers.keys() - {"Content-Type", "Cache-Control"} == set(in_backquotes(row[5]))


def test_body_without_bearer() -> None:
    """The README names the body for a missing token where Bearer is not accepted."""
    text = " ".join((ROOT / "README.md").read_text("utf-8").split())
    sent = render(Decision(Verdict("no_credential")), make_settings(CREDENTIAL_SOURCES="x-api-key"))

    assert f"Where `Bearer` is not accepted, the body for a missing token is `{sent.body}`." in text


def test_metrics(service: Service) -> None:
    """The table of metrics has exactly the existing metrics."""
    service.get("/metrics")
    families = {
        f"{name}_total" if kind == "counter" else name
        for name, kind in re.findall(r"^# TYPE (\w+?)(?:_total)? (\w+)$", service.output, re.MULTILINE)
    }

    assert {row[0].partition("{")[0] for row in quoted("docs/metrics.md", "Metrics", 0)} == families


def test_verdicts() -> None:
    """Every verdict named in docs/metrics.md exists."""
    (row,) = [row for row in table("docs/metrics.md", "Metrics") if "{verdict}" in row[0]]
    named = {word for word in in_backquotes(row[2]) if word.isidentifier()}

    assert named
    assert named <= set(Verdict)
