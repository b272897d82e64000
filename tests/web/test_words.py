"""What the README tells people to look for is what the service says."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from app.core.logins import WRONG_PER_CLIENT
from app.core.verdicts import Verdict
from app.web.answers import OUTCOMES
from devkit.ports import free_port
from tests.web.conftest import OPERATOR

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
PEER = {"REMOTE_ADDR": "172.18.0.2"}
WRONG = ("operator", "a-guess")


def quoted(section: str, column: int) -> list[list[str]]:
    """Return what stands in backquotes in a column of the table below a headline, row by row."""
    text = README.split(f"## {section}\n")[1].split("\n#")[0]
    rows = re.findall(r"^\| (.*) \|$", text, re.MULTILINE)[2:]
    return [re.findall(r"`([^`]+)`", row.split(" | ")[column]) for row in rows]


class Service:
    """The app, and all that it has said, to clients and in its log."""

    def __init__(self, make_client: Callable[..., FlaskClient], caplog: pytest.LogCaptureFixture) -> None:
        self._make_client = make_client
        self._caplog = caplog
        self._bodies = ""
        self.client = make_client()
        caplog.set_level("INFO")

    @property
    def said(self) -> str:
        """Return all of it."""
        return self._bodies + self._caplog.text

    def set(self, **settings: Any) -> None:
        """Start it anew."""
        self.client = self._make_client(**settings)

    def get(self, path: str, times: int = 1, **request: Any) -> None:
        """Ask for *path*."""
        for _ in range(times):
            self._bodies += self.client.get(path, environ_overrides=PEER, **request).text

    def auth(self, token: str, host: str = "a.test", times: int = 1) -> None:
        """Ask /auth."""
        headers = {
            "Authorization": f"Bearer {token}",
            "X-Forwarded-Host": host,
            "X-Forwarded-For": "203.0.113.9",
        }
        self.get("/auth", times, headers=headers)

    def issue(self) -> str:
        """Return a token for b.test."""
        made = self.client.post("/api/v1/tokens", json={"hosts": ["b.test"]}, auth=OPERATOR).get_json()
        return str(made["token"])

    def post_from_elsewhere(self) -> None:
        """Send a form from another site."""
        headers = {"Origin": "https://evil.test"}
        self._bodies += self.client.post("/create_token", auth=OPERATOR, headers=headers).text

    def lose_redis(self) -> None:
        """Start it anew where there is no Redis."""
        self.set(REDIS_PORT=free_port())

    def limit_failures(self) -> None:
        """Start it anew with FAIL_LIMIT_MAX."""
        self.set(FAIL_LIMIT_MAX="1", TRUSTED_PROXIES="172.18.0.0/16")


Act = Callable[[Service], None]


def after(first: Callable[[Service], Any], then: Act) -> Act:
    """Return one act after another."""

    def act(service: Service) -> None:
        first(service)
        then(service)

    return act


N = WRONG_PER_CLIENT.max_requests
# What to do to hear it.
ANSWERS: dict[str, Act] = {
    "this address answers no ForwardAuth": lambda service: service.get("/", headers={"X-Forwarded-Uri": "/"}),
    "forbidden for host": lambda service: service.auth(service.issue()),
    "redis unavailable": after(Service.lose_redis, lambda service: service.auth("x")),
    "came from another site": Service.post_from_elsewhere,
    "too many wrong passwords": lambda service: service.get("/", N + 1, auth=WRONG),
    "the Host header names no host": lambda service: service.get("/", headers={"Host": "a..b"}),
    "proxy_set_header Host $http_host;": Service.post_from_elsewhere,
}
LINES: dict[str, Act] = {
    "refused verdict=": lambda service: service.auth("x"),
    "no decision, redis unavailable: ": after(Service.lose_redis, lambda service: service.auth("x")),
    "healthz, redis unavailable: ": after(Service.lose_redis, lambda service: service.get("/healthz")),
    "no page, redis unavailable: ": after(
        Service.lose_redis, lambda service: service.get("/api/v1/tokens", auth=OPERATOR)
    ),
    "wrong user name or password client=": lambda service: service.get("/", auth=WRONG),
    "too many wrong passwords client=": lambda service: service.get("/", N + 1, auth=WRONG),
    "refused verdict=throttled_client": after(
        Service.limit_failures, lambda service: service.auth("x", times=2)
    ),
}


@pytest.fixture
def service(make_client: Callable[..., FlaskClient], caplog: pytest.LogCaptureFixture) -> Service:
    """Return a service that has said nothing."""
    return Service(make_client, caplog)


@pytest.mark.parametrize(("words", "act"), (ANSWERS | LINES).items())
def test_words(service: Service, words: str, act: Act) -> None:
    """What the README quotes is said when it should be."""
    act(service)

    assert words.casefold() in service.said.casefold()  # a page begins with a capital


def test_troubleshooting() -> None:
    """Every answer that the table of troubles quotes is tried here, but for commands and words of others."""
    words = {text for row in quoted("Troubleshooting", 0) + quoted("Troubleshooting", 1) for text in row}
    # Tried in tests/e2e/test_registry_and_git.py and tests/web/test_bad_records.py.
    others = {'unsupported protocol scheme ""', "several records in Redis go by the id …"}

    assert {
        text for text in words - others if " " in text and not text.startswith("flask ")
    } == ANSWERS.keys()


def test_lines_of_the_log() -> None:
    """Every line that the README shows is tried here, with all that it names."""
    shown = [text for row in quoted("Logs", 0) for text in row]

    assert {text.partition("…")[0] for text in shown} <= LINES.keys()
    assert re.findall(r"(\w+)=…", shown[0]) == ["verdict", "token", "host", "client"]


def test_answers_of_auth() -> None:
    """Every body in the table of answers is one that /auth gives, and none is left out."""
    bodies = {text for row in quoted("Responses of /auth", 2) for text in row}

    assert bodies == {outcome.body for outcome in OUTCOMES.values()} | {"missing token"}  # test_sources.py


def test_metrics(service: Service) -> None:
    """Every metric that there is stands in the table of metrics, and no other."""
    service.get("/metrics")
    families = {
        f"{name}_total" if kind == "counter" else name
        for name, kind in re.findall(r"^# TYPE (\w+?)(?:_total)? (\w+)$", service.said, re.MULTILINE)
    }

    assert {row[0].partition("{")[0] for row in quoted("Metrics", 0)} == families


def test_verdicts() -> None:
    """Every verdict that the README names is one."""
    (row,) = [row for row in README.splitlines() if "`acl_auth_decisions_total{verdict}` |" in row]

    assert set(re.findall(r"`(\w+)`", row)) <= set(Verdict)
    assert set(re.findall(r"`(\w+)`", row))
