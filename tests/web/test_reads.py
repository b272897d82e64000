"""How often a change reads its token's record, as Redis counts it, and the clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from app.services import services_of
from tests.web.conftest import OPERATOR

Act = Callable[[FlaskClient, str], Any]


def reads(database: Any, act: Callable[[], Any]) -> int:
    """Return how many commands outside scripts read a record while *act* runs."""
    with database.monitor() as monitor:
        act()
        database.echo("the end")
        commands = []
        while "the end" not in (command := monitor.next_command())["command"]:
            commands.append(command)
    return sum(
        command["command"].startswith("HMGET tokens:") and command["client_type"] != "lua"
        for command in commands
    )


def form(verb: str, **fields: str) -> Act:
    """Return an act that submits a form with a token."""
    return lambda client, name: client.post(f"/{verb}_token", data={"token": name} | fields, auth=OPERATOR)


def call(method: str, path: str = "", body: Any = None) -> Act:
    """Return an act that calls the API."""
    return lambda client, name: client.open(
        f"/api/v1/tokens/{name}{path}", method=method, json=body, auth=OPERATOR
    )


def command(*args: str) -> Act:
    """Return an act that runs a command."""
    return lambda client, name: client.application.test_cli_runner().invoke(
        args=["tokens", *(name if arg == "ID" else arg for arg in args)]
    )


CHANGES = {
    "page edit": form("edit", comment="x"),
    "page disable": form("disable"),
    "page enable": form("enable"),
    "page rotate": form("rotate"),
    "page delete": form("delete"),
    "api edit": call("PATCH", body={"comment": "x"}),
    "api rotate": call("POST", "/rotate"),
    "api delete": call("DELETE"),
    "command edit": command("edit", "ID", "--comment", "x"),
    "command disable": command("disable", "ID"),
    "command enable": command("enable", "ID"),
    "command rotate": command("rotate", "ID"),
    "command delete": command("delete", "ID"),
}


FAILED_EDIT = form("edit", hosts="https://")


@pytest.mark.parametrize("named_by", ["id", "sha256"])
@pytest.mark.parametrize("change", [*CHANGES.values(), FAILED_EDIT], ids=[*CHANGES, "page edit that fails"])
def test_one_read(client: FlaskClient, database: Any, change: Act, named_by: str) -> None:
    """A change reads its token's record once, before it writes, however the token is named."""
    token = client.post("/api/v1/tokens", json={"hosts": "a.example"}, auth=OPERATOR).json
    assert token

    assert reads(database, lambda: change(client, token[named_by])) == 1


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_one_time(client: FlaskClient, change: Act) -> None:
    """A change reads the clock once, so that it stores, returns and shows the same time."""
    token = client.post("/api/v1/tokens", json={"hosts": "a.example"}, auth=OPERATOR).json
    assert token
    looks: list[float] = []

    def clock() -> float:
        looks.append(time.time())
        return looks[-1]

    services_of(client.application).registry._now = clock
    change(client, token["id"])

    assert len(looks) == 1
