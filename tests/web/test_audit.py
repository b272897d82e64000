"""What GET /api/v1/audit tells of the changes that pages, API and holders make."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from app.core.audit import Wanted
from app.core.logins import WRONG_PER_CLIENT
from app.services import services_of
from tests.web.conftest import Operator
from tests.web.test_api import Api


@pytest.fixture(name="api")
def _api(client: FlaskClient) -> Api:
    return Api(client)


def entries(api: Api, query: str = "") -> list[dict[str, Any]]:
    """Return the entries of the audit log that *query* asks for, newest first."""
    answer = api("GET", f"/audit{query}")
    assert answer.status == 200, answer.text
    found: list[dict[str, Any]] = answer.json["entries"]
    return found


def test_who_what_and_when(api: Api) -> None:
    """An entry names the operator, the address, the way, the token, and each changed field."""
    created = api.make(hosts=["a.test"], comment="first")
    api("PATCH", f"/tokens/{created['id']}", {"comment": "second", "rate_limit_max": 7, "enabled": False})

    edited, made = entries(api)
    assert edited["at"] >= made["at"]
    assert edited | {"at": None} == {
        "at": None,
        "action": "edit",
        "via": "api",
        "actor": "operator",
        "address": "127.0.0.1",
        "token": created["id"],
        "changes": {
            "comment": {"old": "first", "new": "second"},
            "rate_limit_max": {"old": None, "new": 7},
            "enabled": {"old": True, "new": False},
        },
    }
    assert (made["action"], made["changes"]["hosts"]) == ("create", {"old": None, "new": ["a.test"]})
    assert created["token"] not in str(entries(api))


def test_parameters(api: Api) -> None:
    """Token, actor, action and time select entries, and the cursor continues."""
    made = [api.make() for _ in range(3)]
    names, digests = [each["id"] for each in made], [each["sha256"] for each in made]
    api("DELETE", f"/tokens/{names[1]}")

    assert [entry["action"] for entry in entries(api, f"?token={names[1]}")] == ["delete", "create"]
    assert entries(api, f"?token={digests[1]}") == entries(api, f"?token={names[1]}")
    assert len(entries(api, f"?token={digests[0]}")) == 1
    assert api("GET", f"/audit?token={'ab' * 32}").status == 404
    assert [entry["token"] for entry in entries(api, "?action=create")] == names[::-1]
    assert entries(api, "?actor=nobody") == []
    assert len(entries(api, "?since=2020-01-01")) == 4
    assert entries(api, "?since=2999-01-01") == []
    page = api("GET", "/audit?limit=3").json
    assert len(page["entries"]) == 3
    assert [entry["token"] for entry in entries(api, f"?cursor={page['next_cursor']}")] == [names[0]]


def test_pages(api: Api, operator: Operator) -> None:
    """A change in a page has an entry like one through the API."""
    operator.post("/create_token", {"hosts": "a.test"})
    name = entries(api)[0]["token"]
    operator.post("/disable_token", {"token": name})
    operator.post("/rotate_token", {"token": name, "grace_seconds": "60"})
    operator.post("/delete_token", {"token": name})

    made = entries(api)
    assert [entry["action"] for entry in made] == ["delete", "disable", "create"]
    assert {(entry["via"], entry["actor"], entry["token"]) for entry in made} == {("page", "operator", name)}


def test_holders(make_client: Callable[..., FlaskClient]) -> None:
    """A change by the holder of a token names the token as the actor, and not the secret."""
    client = make_client(SELF_SERVICE="full")
    created = Api(client).make()
    secret = {"Authorization": f"Bearer {created['token']}"}
    client.post("/self/rotate", json={"grace_seconds": 60}, headers=secret)
    client.delete("/self", headers=secret)

    ended, rotated, _ = entries(Api(client))
    assert (rotated["action"], ended["action"]) == ("rotate", "retire")
    assert {(entry["via"], entry["actor"]) for entry in (ended, rotated)} == {("self", created["id"])}
    assert rotated["changes"]["sha256"]["old"] == ended["changes"]["sha256"]["old"] == created["sha256"]


def test_refused_sign_ins(api: Api) -> None:
    """Many wrong passwords leave one entry, with the address and without what was typed."""
    for _ in range(WRONG_PER_CLIENT.max_requests + 5):
        api.client.get("/", auth=("operator", "hunter2"))
    api.client.get("/", auth=("hunter2", "hunter2"), environ_base={"REMOTE_ADDR": "192.0.2.9"})

    (refused,) = services_of(api.client.application).audit.newest(Wanted(), None, 50).entries
    assert (refused.action, refused.via, refused.address) == ("login_refused", "page", "127.0.0.1")
    assert "hunter2" not in str(refused)


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("?token=acl_secret", "token"),
        ("?action=destroy", "action"),
        ("?since=yesterday", "since"),
        ("?cursor=1", "cursor"),
        ("?cursor=0-0-0", "cursor"),
        ("?limit=0", "limit"),
        (f"?actor={'a' * 300}", "actor"),
        ("?until=2020-01-01", "until"),
    ],
)
def test_bad_parameters(api: Api, query: str, name: str) -> None:
    """A parameter that can't be used is named."""
    answer = api("GET", f"/audit{query}")

    assert answer.status == 400
    assert [*answer.json["errors"]] == [name]
