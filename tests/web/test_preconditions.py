"""ETag, If-Match and If-None-Match on one token."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from app.core.fields import FIELDS, Field
from tests.web.test_api import Answer, Api
from tests.web.test_every_field import sent

STALE = '"0123456789abcdef"'


@pytest.fixture(name="api")
def _api(client: FlaskClient) -> Api:
    return Api(client)


def change(api: Api, path: str, method: str, if_match: str) -> Answer:
    """Change a token on that condition."""
    target, body = {
        "PATCH": (path, {"comment": "new"}),
        "DELETE": (path, None),
        "POST": (f"{path}/rotate", {}),
    }[method]
    return api(method, target, body, headers={"If-Match": if_match})


def test_one_tag(api: Api) -> None:
    """Every response with a token has its entity tag, which a use does not change and a change does."""
    made = api("POST", "/tokens", {"hosts": ["a.test"]})
    path = made.headers["Location"].removeprefix("/api/v1")
    tags = [made.headers["ETag"], api("GET", path).headers["ETag"]]
    api.auth(made.json["token"])
    tags.append(api("GET", path).headers["ETag"])
    edited = api("PATCH", path, {"comment": "c"}).headers["ETag"]
    shown = api("GET", path).headers["ETag"]
    rotated = api("POST", f"{path}/rotate").headers["ETag"]

    assert len({*tags}) == 1
    assert edited == shown
    assert len({tags[0], edited, rotated}) == 3
    assert rotated == api("GET", path).headers["ETag"]


@pytest.mark.parametrize("field", FIELDS.values(), ids=lambda field: field.name)
def test_every_field(make_client: Any, field: Field) -> None:
    """The entity tag covers every field, and undoing a change restores it."""
    api = Api(make_client(TRUSTED_PROXIES="private"))
    made = api("POST", "/tokens", {"hosts": ["z.test"]})
    path = made.headers["Location"].removeprefix("/api/v1")
    changed = api("PATCH", path, sent(field)).headers["ETag"]
    undo = dict.fromkeys(sent(field)) if not field.is_required else {field.name: ["z.test"]}
    undone = api("PATCH", path, {"expires_at": None} if not field.is_kept else undo).headers["ETag"]

    assert made.headers["ETag"] == undone != changed


@pytest.mark.parametrize("method", ["PATCH", "DELETE", "POST"])
def test_stale(api: Api, method: str) -> None:
    """A change of a token that was changed since is a 412 with the current tag, and changes nothing."""
    made = api("POST", "/tokens", {"hosts": ["a.test"]})
    path = made.headers["Location"].removeprefix("/api/v1")
    current = api("PATCH", path, {"enabled": True, "email": "a@b.example"}).headers["ETag"]
    before = api("GET", path).json
    answers = [
        change(api, path, method, tag)
        for tag in (made.headers["ETag"], f"W/{current}", STALE, "", f"{STALE}, W/{current}")
    ]

    assert {(answer.status, answer.kind, answer.headers["ETag"]) for answer in answers} == {
        (412, "application/problem+json", current)
    }
    assert api("GET", path).json == before
    assert api.auth(made.json["token"]) == 200


@pytest.mark.parametrize("method", ["PATCH", "DELETE", "POST"])
@pytest.mark.parametrize("if_match", ["{}", "*", f"{STALE}, {{}}", f"W/{STALE},{{}}"])
def test_current(api: Api, method: str, if_match: str) -> None:
    """One current tag of several, or a star, is enough."""
    made = api("POST", "/tokens", {"hosts": ["a.test"]})
    path = made.headers["Location"].removeprefix("/api/v1")

    assert change(api, path, method, if_match.format(made.headers["ETag"])).status < 300


def test_missing_token(api: Api) -> None:
    """A token that does not exist is a 404, whatever the condition."""
    for method in ("PATCH", "DELETE", "POST"):
        assert change(api, f"/tokens/{'0' * 16}", method, "*").status == 404


def test_changed_by_another_program(api: Api, database: Any) -> None:
    """A record that another program wrote has another tag."""
    made = api("POST", "/tokens", {"hosts": ["a.test"]})
    path = made.headers["Location"].removeprefix("/api/v1")
    database.hset(f"tokens:{made.json['sha256']}", "hosts", "b.test")

    assert change(api, path, "PATCH", made.headers["ETag"]).status == 412


def test_record_of_an_older_deployment(api: Api, database: Any) -> None:
    """A record in a form of its own can be changed on a condition."""
    database.hset(f"tokens:{'ab' * 32}", mapping={"hosts": " A.test, b.TEST ", "comment": ""})
    path = f"/tokens/{'ab' * 32}"

    assert change(api, path, "PATCH", api("GET", path).headers["ETag"]).status == 200


@pytest.mark.parametrize(
    ("if_none_match", "status"), [("{}", 304), ("W/{}", 304), ("*", 304), (STALE, 200), ("", 200)]
)
def test_unchanged(api: Api, if_none_match: str, status: int) -> None:
    """Whoever has the current tag gets no body."""
    made = api("POST", "/tokens", {"hosts": ["a.test"]})
    path, tag = made.headers["Location"].removeprefix("/api/v1"), made.headers["ETag"]
    answer = api("GET", path, headers={"If-None-Match": if_none_match.format(tag)})

    assert (answer.status, answer.headers["ETag"]) == (status, tag)
    assert bool(answer.text) == (status == 200)
