"""Idempotency-Key on POST, in the API and in forms."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask.testing import FlaskClient

from app.web.preconditions import KEY
from tests.web.conftest import Operator
from tests.web.test_api import Answer, Api

BODY = {"hosts": ["a.test"], "comment": "c"}


@pytest.fixture(name="api")
def _api(client: FlaskClient) -> Api:
    return Api(client)


def post(api: Api, key: str, body: Any = BODY, path: str = "/tokens") -> Answer:
    """Send a POST with that Idempotency-Key."""
    return api("POST", path, body, headers={KEY: key})


def test_sent_twice(api: Api) -> None:
    """The second request gets a 409 with the id of the token, and no secret."""
    first = post(api, '"8e03978e"')
    again = [
        post(api, key, body) for key in ('"8e03978e"', "8e03978e") for body in (BODY, {**BODY, "email": None})
    ]

    assert first.status == 201
    assert [(answer.status, answer.json["id"]) for answer in again] == [(409, first.json["id"])] * 4
    assert {answer.headers["Location"] for answer in again} == {first.headers["Location"]}
    assert first.json["token"] not in "".join(answer.text for answer in again)
    assert api("GET", "/tokens").json["total"] == 1


def test_another_body(api: Api) -> None:
    """The same key with another body is a 422, and a refused body does not use up its key."""
    assert post(api, "k", {"hosts": ["a b"]}).status == 400
    assert post(api, "k").status == 201
    for body in ({"hosts": ["b.test"]}, {**BODY, "ttl_seconds": 60}, {**BODY, "secret": "x" * 20}):
        answer = post(api, "k", body)
        assert (answer.status, answer.kind) == (422, "application/problem+json")
    assert post(api, "k", {**BODY, "hosts": "a.test"}).status == 409


def test_existing_secret(api: Api) -> None:
    """The key is asked before the secret, which is taken the second time, and neither is stored."""
    body = {**BODY, "secret": "an-existing-secret-of-theirs"}
    first, second = post(api, "k", body), post(api, "k", body)

    assert (first.status, second.status, second.json["id"]) == (201, 409, first.json["id"])


def test_rotation(api: Api) -> None:
    """A rotation that is sent twice is made once."""
    made = api.make()
    path = f"/tokens/{made['id']}/rotate"
    first, second = (post(api, "k", {"grace_seconds": 60}, path) for _ in range(2))

    assert (first.status, second.status, second.json["id"]) == (201, 409, made["id"])
    assert post(api, "k", {"grace_seconds": 0}, path).status == 422
    assert api.auth(first.json["token"]) == 200


@pytest.mark.parametrize(
    "key",
    [
        "",
        " ",
        '""',
        '"',
        '"a',
        'a"',
        '"a","b"',
        "a, b",
        "a,b",
        "a b",
        "é",
        '"é"',
        '"\\x"',
        "a" * 256,
        '"a";q=1',
    ],
)
def test_bad_key(api: Api, database: Any, key: str) -> None:
    """A key that is no text, or too long, is refused by name."""
    answer = post(api, key)

    assert (answer.status, set(answer.json["errors"])) == (400, {KEY})
    assert not database.keys("tokens:*")


@pytest.mark.parametrize("key", ['"a b, c"', '"\\"\\\\"', "a" * 255, f'"{"a" * 255}"', "a:b/c=_-~", ":YQ==:"])
def test_good_key(api: Api, key: str) -> None:
    """Every text of visible characters is a key; without quotes it has no comma and no blank."""
    assert [post(api, key).status for _ in range(2)] == [201, 409]


def test_at_once(client: FlaskClient) -> None:
    """Of many requests at once with the same key, one creates the token."""
    apps = [Api(client.application.test_client()) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        answers = [*pool.map(lambda api: post(api, "k"), apps)]

    assert sorted(answer.status for answer in answers) == [201, *[409] * 7]
    (made,) = (answer.json["id"] for answer in answers if answer.status == 201)
    assert {answer.json.get("id", made) for answer in answers} == {made}
    assert apps[0]("GET", "/tokens").json["total"] == 1


def test_form(operator: Operator) -> None:
    """A form that is sent twice says which token it created, and one that was changed creates none."""
    form = {"hosts": "a.test", "form": "nonce"}
    operator.post("/create_token", form)
    again, other = (
        operator.post("/create_token", form),
        operator.post("/create_token", form | {"hosts": "b.test"}),
    )
    made = Api(operator._client)("GET", "/tokens").json["tokens"]

    assert (again.status_code, other.status_code, len(made)) == (409, 409, 1)
    assert made[0]["id"] in again.text
    assert "was used for another request" in other.text


def test_nothing_is_logged(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    """Neither the key nor the secret is in a log line."""
    caplog.set_level(logging.DEBUG)
    secret = post(api, "a-key-of-mine").json["token"]
    post(api, "a-key-of-mine")

    assert not [text for text in (secret, "a-key-of-mine") if text in caplog.text]
