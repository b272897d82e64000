"""The examples in docs/cli.md: each command is run, and prints what the page shows."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from string import Template

import click
import pytest
import redis
from flask import Flask
from flask.cli import AppGroup

from app.cli import COMMANDS, output
from app.cli.complaints import Code
from devkit.builders import ENVIRON
from devkit.commands import app_on
from devkit.process import OUTSIDE, ROOT
from devkit.redis_server import RedisServer

TEXT = (ROOT / "docs/cli.md").read_text("utf-8")
FLASK = ".venv/bin/flask --app wsgi "
EXAMPLES = re.findall(r"^\$ (.*)\n((?:(?!\$ |```).*\n)*)", TEXT, re.MULTILINE)
SCRIPTS = re.findall(r"^```sh\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
IDS = re.compile(rf"^(\w+)=\$\({re.escape(FLASK)}tokens list (.*) \| cut -f 1\)$", re.MULTILINE)
# What differs from run to run.
VARIED = {
    r"\bacl_[0-9A-Za-z]{38}\b|acl_…": "SECRET",
    r"\b[0-9a-f]{64}\b": "SHA256",
    r"\b1[0-9a-hjkmnp-tv-z]{15}\b": "ID",
    r"\b[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}Z": "MOMENT",
    r"\n {22}(?=\S)": " ",  # where a line wraps depends on the name of the user
    r"less than a minute ago|[0-9]+ minutes? ago": "AGO",
    r"resets in [0-9]+ [a-z]+": "RESETS",
    r"\S+ \(shell\)": "USER (shell)",
    r"acl-auth-service [0-9.]+": "VERSION",
}


def general(text: str) -> str:
    """Return *text* without what differs from run to run, and without blanks at the ends of lines."""
    for pattern, name in VARIED.items():
        text = re.sub(pattern, name, text)
    return re.sub(" +$", "", text, flags=re.MULTILINE)


@pytest.fixture
def app(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Flask:
    """Return an app on an empty database, whose commands print as at a terminal of 110 columns."""
    with redis.Redis(port=redis_server.port) as client:
        client.flushall()
    monkeypatch.setattr(output, "is_terminal", lambda: True)
    monkeypatch.setattr(output, "aside", click.echo)
    for name, value in {"COLUMNS": "110", **ENVIRON}.items():
        monkeypatch.setenv(name, value)
    return app_on(redis_server)


def ids_at(app: Flask, command: str) -> dict[str, str]:
    """Return the ids that the page has put into variables before *command*, as its scripts find them."""
    found = {}
    for name, options in IDS.findall(TEXT[: TEXT.index(command)]):
        listed = app.test_cli_runner().invoke(args=["tokens", "list", *shlex.split(options), "--json"])
        found[name] = json.loads(listed.stdout)["id"]
    return found


def test_examples(app: Flask) -> None:
    """Every example succeeds, in the order of the page, and prints what the page shows."""
    runner, ids = app.test_cli_runner(), dict[str, str]()
    for command, shown in EXAMPLES:
        assert command.startswith(FLASK)
        ids = ids or ids_at(app, command)
        result = runner.invoke(args=shlex.split(Template(command.removeprefix(FLASK)).substitute(ids)))
        assert result.exit_code == 0, (command, result.output)
        expected = (
            re.escape(general(shown)).replace("…,", ".*,").replace("…}", ".*}").replace(r"…\}", r".*\}")
        )
        assert re.fullmatch(expected, general(result.stdout)), (command, result.stdout)
    assert len(EXAMPLES) > 15


@pytest.mark.e2e
@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts(redis_server: RedisServer, app: Flask, script: str) -> None:
    """Every script succeeds in bash, with the commands as a program of their own."""
    app.test_cli_runner().invoke(args=["tokens", "create", "a.test", "--ttl", "1d"])
    flask = str(Path(sys.prefix) / "bin/flask")
    more = {
        "PYTHONPATH": str(ROOT),
        "REDIS_PORT": f"{redis_server.port}",
        "PATH": f"{Path(flask).parent}:{os.environ['PATH']}",
    }
    result = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", script.replace(".venv/bin/flask", flask)],
        cwd=OUTSIDE,
        env={**os.environ, **ENVIRON, **more},
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.returncode == 0, result.stderr
    assert ("extend" in script) is result.stdout.startswith("extended ")


def commands() -> list[str]:
    """Return the names of all commands."""
    return [
        f"{top.name} {name}".replace("None", "") if isinstance(top, AppGroup) else f"{top.name}"
        for top in COMMANDS
        for name in (top.commands if isinstance(top, AppGroup) else [""])
    ]


@pytest.mark.parametrize("command", commands())
def test_every_command(command: str) -> None:
    """The page has an example of every command, or names it beside the page that has one."""
    is_elsewhere = f"`{command}`" in TEXT
    assert is_elsewhere or any(example.startswith(f"{FLASK}{command}") for example, _ in EXAMPLES)


def test_every_exit_code() -> None:
    """The page explains every exit code, and no other."""
    assert re.findall(r"^\| ([0-9]+) \|", TEXT, re.MULTILINE) == [f"{code.value}" for code in Code]


def completed(redis_server: RedisServer, *words: str) -> str:
    """Return what bash completes the last of *words* to."""
    script = """eval "$(_FLASK_COMPLETE=bash_source flask)"
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)); _flask_completion flask; echo "${COMPREPLY[@]}" """
    path = f"{Path(sys.prefix) / 'bin'}:{os.environ['PATH']}"
    more = {"PYTHONPATH": str(ROOT), "REDIS_PORT": f"{redis_server.port}", "PATH": path}
    env = {**os.environ, **ENVIRON, **more}
    run: Callable[..., subprocess.CompletedProcess[str]] = subprocess.run
    return run(
        ["bash", "-c", script, "bash", "flask", "--app", "wsgi", *words],
        cwd=OUTSIDE, env=env, capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip


@pytest.mark.e2e
def test_completion(redis_server: RedisServer) -> None:
    """Bash completes a command and the words of an option."""
    assert completed(redis_server, "tokens", "ext") == "extend"
    assert completed(redis_server, "tokens", "list", "--status", "exp") == "expiring"
