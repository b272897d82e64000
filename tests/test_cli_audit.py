"""``flask audit``: who changed what."""

from __future__ import annotations

import getpass
from typing import Any

import pytest
from click.testing import Result

from app.cli.complaints import Code
from app.core.audit import Actor, Via
from app.services import services_of
from devkit.commands import app_on, created, printed_lines, runner_on
from devkit.redis_server import RedisServer


class Log:
    """The log of a token that was created, edited, disabled, rotated and deleted in the shell."""

    def __init__(self, server: RedisServer) -> None:
        run = runner_on(server)
        self.other = created(run, "other.test")
        self.name = created(run, "a.test", "--comment", "first")["id"]
        run("edit", self.name, "--comment", "\x1b[31m", "--rate-limit-max", "5")
        run("edit", self.name, "--comment", "last", "--rate-limit-max", "5")
        run("rotate", self.name, "--grace", "1h")
        run("disable", self.name)
        run("delete", self.name)
        self._app = app_on(server)
        registry = services_of(self._app).registry
        self.by_api = registry.issue(Actor(Via.API, "ops\x1b[2J", "192.0.2.7"), {"hosts": "b.test"}).token.id

    def __call__(self, *args: str) -> Result:
        """Run ``flask audit``."""
        return self._app.test_cli_runner().invoke(args=["audit", *args])


@pytest.fixture(scope="module", name="log")
def _log(redis_server: RedisServer) -> Log:
    return Log(redis_server)


def test_sentences(log: Log) -> None:
    """Each entry is one line for people, newest first, without control characters."""
    lines = log("--token", log.name).stdout.splitlines()
    me = f"{getpass.getuser()} (shell)"
    ends = [line.partition("Z  ")[2] for line in lines]

    assert ends[0].startswith(
        f"{me} deleted token {log.name}, which was for a.test: comment last; rate_limit_max 5"
    )
    assert ends[1] == f"{me} disabled token {log.name}"
    assert ends[2].startswith(f"{me} rotated token {log.name}; its old secret is valid until 2")
    assert (
        ends[3] == f"{me} changed 2 fields of token {log.name}: "
        "comment from first to last; rate_limit_max from the default to 5"
    )
    assert ends[4] == f"{me} created token {log.name} for a.test: comment first"
    assert len(ends) == 5
    newest = log("--limit", "1").stdout
    assert rf"ops\x1b[2J (api, 192.0.2.7) created token {log.by_api} for b.test" in newest
    assert newest.rstrip("\n").isprintable()


def test_json(log: Log) -> None:
    """With --json each entry has the form that the API gives it, digests included."""
    entries: list[dict[str, Any]] = printed_lines(log("--json"))

    assert [entry["at"] for entry in entries] == sorted((entry["at"] for entry in entries), reverse=True)
    assert {entry["token"] for entry in entries} == {log.name, log.by_api, log.other["id"]}
    assert entries[-1]["changes"]["sha256"] == {"old": None, "new": log.other["sha256"]}


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ("", 7),
        ("--action edit", 1),
        ("--actor nobody", 0),
        ("--since 1h", 7),
        ("--since 2090-01-01", 0),
        ("--since 2020-01-01 --limit 3", 3),
        ("--since 999999999999w", 7),
    ],
)
def test_choice(log: Log, options: str, count: int) -> None:
    """The entries can be chosen by token, actor, action and time."""
    result = log(*options.split())

    assert (result.exit_code, len(result.stdout.splitlines())) == (0, count), result.output


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["--since", "\x1b[31m"], Code.REFUSED, "since: a duration such as 7d, or a moment such as"),
        (["--token", "acl_secret"], Code.REFUSED, "token: the id or the SHA-256 of a token"),
        (["--action", "burn"], Code.USAGE, "'login_refused'"),
        (["--limit", "0"], Code.USAGE, "x>=1"),
    ],
)
def test_choice_that_is_refused(log: Log, args: list[str], code: Code, said: str) -> None:
    """A bad choice is refused by name, and a secret in it is not repeated."""
    result = log(*args)

    assert (result.exit_code, said in result.stderr, result.stdout) == (code, True, "")
    assert "acl_secret" not in result.stderr
    assert result.stderr.replace("\n", "").isprintable()
