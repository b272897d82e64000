"""Tokens of secrets that people already have."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from importlib import import_module
from typing import Any

import pytest
from flask.testing import FlaskClient

from app.core import tokens
from app.web.openapi import DESCRIPTION
from devkit.builders import PEPPER
from tests.web.conftest import OPERATOR, written

SECRET = "a-key-that-people-already-have"


@cache
def schema() -> Any:
    """Return the validator of a new token, slow to import; jsonschema_rs would take no lone surrogates."""
    return import_module("jsonschema").Draft202012Validator(DESCRIPTION["components"]["schemas"]["NewToken"])


def make(client: FlaskClient, secret: Any = SECRET, **more: Any) -> Any:
    """Send a new token with that secret to the API, and return the response."""
    body = {"hosts": ["a.test"], "secret": secret} | more
    return client.post("/api/v1/tokens", json=body, auth=OPERATOR)


def status(client: FlaskClient, secret: str = SECRET) -> int:
    """Return what /auth answers to that secret."""
    headers = {"Authorization": f"Bearer {secret}", "X-Forwarded-Host": "a.test"}
    return client.get("/auth", headers=headers).status_code


def everything(database: Any) -> dict[str, Any]:
    """Return all keys and values but those of sign-ins."""
    return {name: database.dump(name) for name in written(database)}


def test_existing_secret(client: FlaskClient, database: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The token has that secret, which is in this one response and nowhere else."""
    caplog.set_level(logging.DEBUG)
    answer = make(client)
    shown = client.get(f"/api/v1/tokens/{answer.json['id']}", auth=OPERATOR).text

    assert (answer.status_code, answer.json["token"], status(client)) == (201, SECRET, 200)
    assert answer.json["sha256"] == sha256((SECRET + PEPPER).encode()).hexdigest()
    assert SECRET not in shown + caplog.text
    assert not [name for name in database.scan_iter() if SECRET in name or SECRET in str(database.dump(name))]


@pytest.mark.parametrize("secret", [None, tokens.mint("acl"), "0123456789abcdef" * 4, "k" * 512])
def test_secrets_of_all_shapes(client: FlaskClient, secret: str | None) -> None:
    """Null generates a secret; one of our own shape needs its checksum, and one may look like a SHA-256."""
    answer = make(client, secret)

    assert status(client, answer.json["token"]) == 200
    assert secret in (None, answer.json["token"])


@pytest.mark.parametrize(
    ("secret", "more"),
    [
        *(("short", {}), ("k" * 19, {"allow_weak": False}), ("k" * 19, {"allow_weak": None})),
        *(("", {"allow_weak": True}), ("k" * 513, {}), ("two words, and a comma", {}), ("\ud800" * 20, {})),
        *((["a" * 20], {}), (7, {}), (True, {})),
    ],
)
def test_unusable_secret(client: FlaskClient, database: Any, secret: Any, more: dict[str, Any]) -> None:
    """A secret that no token can have is refused by name and not repeated, and is described as wrong."""
    answer = make(client, secret, **more)

    assert (answer.status_code, {*answer.json["errors"]}) == (400, {"secret"})
    assert len(f"{secret}") < 6 or f"{secret}" not in answer.text
    assert written(database) == []
    assert not schema().is_valid({"hosts": ["a.test"], "secret": secret} | more)


@pytest.mark.parametrize("secret", ["acl_" + "k" * 38, tokens.mint("acl")[:-1] + "!"])
def test_wrong_checksum(client: FlaskClient, database: Any, secret: str) -> None:
    """A secret that /auth would take for a mistyped one of ours is refused."""
    answer = make(client, secret, allow_weak=True)

    assert (answer.status_code, {*answer.json["errors"]}) == (400, {"secret"})
    assert secret not in answer.text
    assert written(database) == []


def test_weak_secret(client: FlaskClient) -> None:
    """A short secret is accepted if it is allowed to be weak, and described as right."""
    assert make(client, "k", allow_weak=True).status_code == 201
    assert status(client, "k") == 200
    assert schema().is_valid({"hosts": ["a.test"], "secret": "k", "allow_weak": True})


@pytest.mark.parametrize("sent", [{}, {"secret": None}])
def test_weak_without_a_secret(client: FlaskClient, database: Any, sent: dict[str, None]) -> None:
    """Without an existing secret none may be weak, which is refused by name and described as wrong."""
    body = {"hosts": ["a.test"], "allow_weak": True} | sent
    answer: Any = client.post("/api/v1/tokens", json=body, auth=OPERATOR)

    assert (answer.status_code, {*answer.json["errors"]}, written(database)) == (400, {"allow_weak"}, [])
    assert not schema().is_valid(body)


@pytest.mark.parametrize("value", [False, None])
def test_not_weak_without_a_secret(client: FlaskClient, value: Any) -> None:
    """Without an existing secret, false and null are accepted, and described as right."""
    body = {"hosts": ["a.test"], "allow_weak": value}

    assert client.post("/api/v1/tokens", json=body, auth=OPERATOR).status_code == 201
    assert schema().is_valid(body)


@pytest.mark.parametrize("value", ["yes", 1, []])
def test_allow_weak_of_a_wrong_type(client: FlaskClient, value: Any) -> None:
    """Whether a secret may be weak is true or false."""
    assert {*make(client, allow_weak=value).json["errors"]} == {"allow_weak"}


def assert_taken(client: FlaskClient, database: Any, secret: str) -> None:
    """Assert that no token can be made of *secret*, and that the attempt changes nothing."""
    before = everything(database)
    answer = make(client, secret, comment="another")

    assert (answer.status_code, {*answer.json["errors"]}) == (409, {"secret"})
    assert secret not in answer.text
    assert everything(database) == before


def test_taken_secret(client: FlaskClient, database: Any) -> None:
    """A secret is that of one token."""
    make(client)

    assert_taken(client, database, SECRET)


def test_secret_of_an_older_deployment(client: FlaskClient, database: Any) -> None:
    """A record that another program wrote is a token like any other, and so is one that can't be read."""
    database.hset(f"tokens:{sha256((SECRET + PEPPER).encode()).hexdigest()}", "hosts", "a.test")
    database.set(f"tokens:{sha256((SECRET * 2 + PEPPER).encode()).hexdigest()}", "no hash")

    assert_taken(client, database, SECRET)
    assert_taken(client, database, SECRET * 2)


def test_secret_under_a_previous_pepper(make_client: Callable[..., FlaskClient], database: Any) -> None:
    """A secret is taken under every pepper that /auth accepts."""
    make(make_client())

    assert_taken(make_client(PEPPER="new", PEPPER_PREVIOUS=PEPPER), database, SECRET)


def test_replaced_secret(client: FlaskClient, database: Any) -> None:
    """A replaced secret is taken until its grace period is over."""
    made = make(client).json
    client.post(f"/api/v1/tokens/{made['id']}/rotate", json={"grace_seconds": 60}, auth=OPERATOR)
    assert_taken(client, database, SECRET)

    client.delete(f"/api/v1/tokens/{made['id']}", auth=OPERATOR)
    database.delete(f"tokens:{made['sha256']}")
    assert make(client).status_code == 201


def test_secret_of_a_deleted_token(client: FlaskClient) -> None:
    """The secret of a deleted token may be used again, and has nothing of that token's."""
    made = make(client, comment="first").json
    client.delete(f"/api/v1/tokens/{made['id']}", auth=OPERATOR)
    again = make(client).json

    assert (again["id"] != made["id"], again["comment"], status(client)) == (True, "", 200)


def test_form(client: FlaskClient, database: Any) -> None:
    """The form takes no secret, because a browser may remember what is typed into it."""
    data = {"hosts": "a.test", "secret": SECRET}
    answer = client.post("/create_token", data=data, auth=OPERATOR)

    assert (answer.status_code, SECRET in answer.text, written(database)) == (400, False, [])


@pytest.mark.parametrize(("method", "path"), [("PATCH", ""), ("POST", "/rotate")])
def test_only_for_a_new_token(client: FlaskClient, method: str, path: str) -> None:
    """Neither an edit nor a rotation takes a secret."""
    made = make(client).json
    body = {"secret": SECRET * 2}
    answer = client.open(f"/api/v1/tokens/{made['id']}{path}", method=method, json=body, auth=OPERATOR)

    assert (answer.status_code, {*answer.get_json()["errors"]}) == (400, {"secret"})
