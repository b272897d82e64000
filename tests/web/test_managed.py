"""Tokens that a file manages, on the pages and in the API: shown, marked and read-only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.web.conftest import OPERATOR, Operator
from tests.web.test_admin import create, record_of


@pytest.fixture
def secret(operator: Operator, database: Any) -> str:
    """Create a token that a file manages; return its secret."""
    secret = create(operator)
    database.hset(record_of(secret), "managed", "ci-deploy")
    return secret


@pytest.fixture
def token_id(secret: str, database: Any) -> str:
    """Return the token's id."""
    return str(database.hget(record_of(secret), "id"))


def dump(database: Any) -> list[Any]:
    """Return the records of all tokens."""
    return [database.hgetall(name) for name in database.scan_iter("tokens:*")]


@pytest.mark.parametrize(
    ("request_line", "body"),
    [
        ("PATCH ", {"comment": "x"}),
        ("PATCH ", {"enabled": False}),
        ("POST /rotate", {}),
        ("DELETE ", None),
    ],
)
def test_api(client: FlaskClient, token_id: str, database: Any, request_line: str, body: Any) -> None:
    """The API shows the key, and refuses each change with where to make it."""
    before, (method, path) = dump(database), request_line.split(" ")
    answer: Any = client.open(f"/api/v1/tokens/{token_id}{path}", method=method, json=body, auth=OPERATOR)

    assert (answer.status_code, answer.mimetype) == (409, "application/problem+json")
    assert "managed by a tokens file as `ci-deploy`; change it there" in answer.json["detail"]
    shown: Any = client.get(f"/api/v1/tokens/{token_id}", auth=OPERATOR).json
    assert shown["managed"] == "ci-deploy"
    assert dump(database) == before


@pytest.mark.parametrize("verb", ["edit", "disable", "enable", "rotate", "delete"])
def test_forms(operator: Operator, token_id: str, verb: str) -> None:
    """Every form is refused too, if somebody sends one from a page of before."""
    answer = operator.post(f"/{verb}_token", {"token": token_id})

    assert answer.status_code == 409
    assert "a tokens file" in answer.text


def test_pages(operator: Operator, token_id: str) -> None:
    """The pages mark the token, and have no form that would be refused."""
    assert '<span class="chip">managed</span>' in operator.get().text
    assert 'name="token"' not in operator.get().text
    assert "delete_token" not in operator.get().text
    page = operator.get(f"/tokens/{token_id}").text
    assert "<code>ci-deploy</code>" in page
    assert "<form" not in page


def test_setting(make_client: Any, token_id: str, tmp_path: Path) -> None:
    """A token that the file of the setting declares is said to be in TOKENS_FILE."""
    path = tmp_path / "tokens.toml"
    path.write_text(f'[tokens.ci-deploy]\nhosts = ["a.test"]\nsha256 = "{"ab" * 32}"\n')
    client = make_client(TOKENS_FILE=path)
    answer = client.delete(f"/api/v1/tokens/{token_id}", auth=OPERATOR)

    assert "managed by TOKENS_FILE as `ci-deploy`; change it there" in answer.json["detail"]
    assert "<code>TOKENS_FILE</code> declares" in client.get(f"/tokens/{token_id}", auth=OPERATOR).text


def test_foreign_mark(operator: Operator, client: FlaskClient, database: Any) -> None:
    """A mark that no file can have declared marks nothing, and locks nobody out."""
    secret = create(operator)
    database.hset(record_of(secret), "managed", "<b>\x1b")
    name = database.hget(record_of(secret), "id")

    shown: Any = client.get(f"/api/v1/tokens/{name}", auth=OPERATOR).json
    assert shown["managed"] is None
    assert client.delete(f"/api/v1/tokens/{name}", auth=OPERATOR).status_code == 204


def test_holder(operator: Operator, make_client: Any, secret: str) -> None:
    """The holder of a managed token can neither rotate nor end it."""
    holder, headers = make_client(SELF_SERVICE="full"), {"Authorization": f"Bearer {secret}"}

    assert holder.get("/self", headers=headers).status_code == 200
    for answer in (
        holder.post("/self/rotate", json={}, headers=headers),
        holder.delete("/self", headers=headers),
    ):
        assert answer.status_code == 409
        assert "a tokens file" in answer.json["detail"]
    assert operator.get().status_code == 200
