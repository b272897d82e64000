"""Commands while TOKENS_FILE is not valid."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app import create_app, settings
from app.cli.complaints import Code
from app.cli.without_file import settings_without_file
from app.settings import InvalidSettingsError, Settings
from devkit.builders import ENVIRON
from devkit.commands import created, runner_on
from devkit.process import ROOT
from devkit.redis_server import RedisServer

Flask = Callable[..., subprocess.CompletedProcess[str]]
PROBLEM = "line 1, tokens.ci.host: unknown name"


@pytest.fixture
def flask(redis_server: RedisServer, tmp_path: Path) -> Flask:
    """Return a function that runs flask as a shell does, where TOKENS_FILE has a mistake."""
    (tmp_path / "tokens.toml").write_text("tokens.ci.host = []\n")
    places = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "REDIS_PORT": str(redis_server.port)}
    env = places | ENVIRON | {"TOKENS_FILE": "tokens.toml", "TOKENS_FILE_PRUNE": "true"}

    def run(*args: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "flask", "--app", "wsgi", *args]
        return subprocess.run(
            argv, cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=60
        )

    return run


def test_commands_go_on(flask: Flask, redis_server: RedisServer) -> None:
    """A leaked token is disabled, with a warning that has the problem and what to do."""
    token = created(runner_on(redis_server), "a.test")
    done = flask("tokens", "disable", token["id"], "--force")

    assert (done.returncode, done.stdout) == (0, f"disabled {token['id']}\n")
    assert done.stderr.startswith("Warning: TOKENS_FILE is not valid.")
    assert "Correct the file" in done.stderr
    assert PROBLEM in done.stderr


def test_what_needs_the_file(flask: Flask) -> None:
    """The service does not start, not even the one of flask run, and doctor has a finding."""
    started, examined = flask("run", "--port", "0"), flask("doctor", "--json")

    assert (started.returncode, PROBLEM in started.stderr) == (1, True)
    assert "can't start with these settings" in started.stderr
    found = [one["what"] for one in json.loads(examined.stdout) if one["id"] == "settings-invalid"]
    assert (examined.returncode, PROBLEM in " ".join(found)) == (3, True)


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Settings | None]:
    """Return a function that reads the settings for a command, where TOKENS_FILE has a mistake."""
    monkeypatch.chdir(tmp_path)
    Path("tokens.toml").write_text("tokens.ci.host = []\n")
    flags = {"FLASK_RUN_FROM_CLI": "true", "TOKENS_FILE": "tokens.toml", "TOKENS_FILE_PRUNE": "true"}

    def read(command: str, **variables: str) -> Settings | None:
        monkeypatch.setattr(sys, "argv", ["flask", *command.split()])
        for name, value in {**ENVIRON, **flags, **variables}.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(InvalidSettingsError) as caught:
            settings.read()
        return settings_without_file(caught.value)

    return read


@pytest.mark.parametrize("command", ["tokens list", "logins reset", "audit", "shell"])
def test_commands_that_go_on(command: str, read: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Each goes on with a warning; only apply without another file is refused then."""
    found = read(command)
    assert PROBLEM in capsys.readouterr().err
    result = create_app(found).test_cli_runner().invoke(args=["tokens", "apply"])

    assert (result.exit_code, "TOKENS_FILE can't be used" in result.stderr) == (Code.REFUSED, True)


@pytest.mark.parametrize(
    ("command", "variables"),
    [
        ("config", {}),
        ("run", {}),
        ("tokens list", {"REDIS_PORT": "many"}),
        ("tokens list", {"FLASK_RUN_FROM_CLI": "false"}),
    ],
)
def test_commands_that_stop(command: str, variables: dict[str, str], read: Any) -> None:
    """The service, the reports of settings, and every command with another bad setting do not go on."""
    assert read(command, **variables) is None
