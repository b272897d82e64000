"""POST /api/v1/try tells what /auth would answer."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from app.core.tokens import mint
from tests.web.test_api import Api

RESTRICTED = {"methods": ["GET"], "paths": ["/v1/*"], "networks": ["10.0.0.0/8"]}
FITTING = {"host": "a.test", "method": "GET", "path": "/v1/models?a=1", "address": "10.1.2.3"}


@pytest.fixture(name="api")
def _api(make_client: Callable[..., FlaskClient]) -> Api:
    return Api(make_client(TRUSTED_PROXIES="private"))


def test_allowed(api: Api) -> None:
    """A request that would pass is allowed, by id, by SHA-256 and by secret."""
    made = api.make()
    by = [{"id": made["id"]}, {"id": made["sha256"]}, {"token": made["token"]}]
    answers = [api("POST", "/try", {"host": "a.test", **each}).json for each in by]

    assert (
        answers
        == [
            {
                "allowed": True,
                "verdict": "allowed",
                "status": 200,
                "reason": "OK",
                "field": None,
                "retry_after": None,
                "id": made["id"],
                "ended": None,
            }
        ]
        * 3
    )


@pytest.mark.parametrize(
    ("changed", "verdict", "field"),
    [
        ({}, "allowed", None),
        ({"host": "b.test"}, "wrong_host", "hosts"),
        ({"host": "a b"}, "wrong_host", "hosts"),
        ({"host": "\ud800"}, "wrong_host", "hosts"),
        ({"host": None}, "wrong_host", "hosts"),
        ({"method": "POST"}, "wrong_method", "methods"),
        ({"method": "HEAD"}, "allowed", None),
        ({"method": None}, "wrong_method", "methods"),
        ({"path": "/v1"}, "wrong_path", "paths"),
        ({"path": "/v1/../x"}, "wrong_path", "paths"),
        ({"path": None}, "wrong_path", "paths"),
        ({"address": "11.0.0.1"}, "wrong_network", "networks"),
        ({"address": "::ffff:10.0.0.1"}, "allowed", None),
        ({"address": None}, "wrong_network", "networks"),
        ({"host": "b.test", "method": "POST"}, "wrong_host", "hosts"),
    ],
)
def test_first_refusal(api: Api, changed: dict[str, Any], verdict: str, field: str | None) -> None:
    """The first restriction that is not met refuses, and is named; what is left out counts as not sent."""
    made = api.make(**RESTRICTED)
    answer = api("POST", "/try", {"id": made["id"]} | FITTING | changed).json

    assert (answer["verdict"], answer["field"]) == (verdict, field)
    assert answer["allowed"] == (verdict == "allowed")


@pytest.mark.parametrize("name", ["id", "token"])
def test_state_of_a_token(api: Api, name: str) -> None:
    """A token that is off, not valid yet or over a limit is refused as by /auth."""
    made = api.make(rate_limit_max=1, rate_limit_window_sec=3600)
    sent, path = {name: made[name], "host": "a.test"}, f"/tokens/{made['id']}"
    assert api.auth(made["token"]) == 200
    limited = api("POST", "/try", sent).json
    api("PATCH", path, {"not_before": "2100-01-01"})
    early = api("POST", "/try", sent).json
    api("PATCH", path, {"enabled": False})
    disabled = api("POST", "/try", sent).json
    api("DELETE", path)
    deleted = api("POST", "/try", sent).json

    assert (limited["verdict"], limited["status"], limited["reason"]) == (
        "rate_limited",
        429,
        "rate limit exceeded",
    )
    assert 0 < limited["retry_after"] <= 3600
    assert [early["verdict"], disabled["verdict"]] == ["token_not_yet_valid", "disabled_token"]
    assert (deleted["verdict"], deleted["status"], deleted["ended"]) == ("unknown_token", 401, "deleted")


def test_expired(api: Api, database: Any) -> None:
    """A token that has expired says so."""
    made = api.make(ttl_seconds=60)
    database.delete(f"tokens:{made['sha256']}")
    database.pexpire(f"{{tokens:{made['sha256']}}}:ended", 1_000_000)
    answers = [api("POST", "/try", {name: made[name]}).json for name in ("id", "token")]

    assert {(each["verdict"], each["ended"], each["field"]) for each in answers} == {
        ("expired_token", "expired", "expires_at")
    }


@pytest.mark.parametrize(
    ("secret", "verdict"),
    [
        ("", "malformed_credential"),
        ("a b", "malformed_credential"),
        ("a" * 513, "malformed_credential"),
        ("acl_mistyped", "mistyped_token"),
        ("any-other-secret", "unknown_token"),
    ],
)
def test_unknown_secrets(api: Api, secret: str, verdict: str) -> None:
    """A secret that opens nothing gets the verdict of /auth."""
    answer = api("POST", "/try", {"token": secret, "host": "a.test"})

    assert (answer.status, answer.json["verdict"], answer.json["id"]) == (200, verdict, None)


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, {"id"}),
        ({"id": "0" * 16, "token": "x"}, {"id"}),
        ({"id": None}, {"id"}),
        ({"id": "acl_secret"}, {"id"}),
        ({"id": 5}, {"id"}),
        ({"token": ["x"]}, {"token"}),
        ({"token": "x", "host": 5, "path": True}, {"host", "path"}),
        ({"token": "x", "hosts": ["a.test"], "": ""}, {"hosts", ""}),
        ({"token": "x", "address": "10.0.0.0/8"}, {"address"}),
        ({"token": "x", "address": "10.0.0.1 "}, {"address"}),
        ({"token": "x", "address": ""}, {"address"}),
    ],
)
def test_bad_requests(api: Api, body: Any, fields: set[str]) -> None:
    """An unknown field or a value of the wrong type is refused by name."""
    answer = api("POST", "/try", body)

    assert (answer.status, set(answer.json["errors"])) == (400, fields)
    assert "acl_secret" not in answer.text


def test_unknown_id(api: Api) -> None:
    """An id that no token has or had is not found."""
    assert api("POST", "/try", {"id": "0" * 16}).status == 404
    assert api("POST", "/try", {"id": "ab" * 32}).status == 404


def test_secrecy(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    """A secret that is tried is neither logged nor returned."""
    caplog.set_level(logging.DEBUG)
    secrets = [api.make()["token"], mint("acl"), "acl_mistyped_secret"]
    for secret in secrets:
        for body in ({"token": secret, "host": "b.test"}, {"token": secret, "host": 5}, {"id": secret}):
            assert secret not in api("POST", "/try", body).text

    assert not [secret for secret in secrets if secret in caplog.text]


def test_address_without_proxies(make_client: Callable[..., FlaskClient], database: Any) -> None:
    """Without TRUSTED_PROXIES /auth knows no address, and neither does a trial."""
    api = Api(make_client())
    made = api.make()
    database.hset(f"tokens:{made['sha256']}", "networks", "10.0.0.0/8")

    assert api("POST", "/try", {"id": made["id"], **FITTING}).json["verdict"] == "wrong_network"


def test_unreadable_record(api: Api, database: Any) -> None:
    """A record on which /auth can't decide is a 503 that says why."""
    made = api.make()
    database.hset(f"tokens:{made['sha256']}", "rate_limit_max", "many")
    answer = api("POST", "/try", {"id": made["id"], "host": "a.test"})

    assert (answer.status, api.auth(made["token"])) == (503, 503)
    assert "a number in the record of this token cannot be read" in answer.json["detail"]
