"""The credential sources."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from devkit.builders import PEPPER

TOKEN = "from-an-older-deployment"
BEARER, OTHER = f"Bearer {TOKEN}", "Bearer something-else"


def basic(credentials: str) -> str:
    """Return *credentials* as a Basic header."""
    return "Basic " + b64encode(credentials.encode()).decode()


@pytest.fixture
def ask(make_client: Callable[..., FlaskClient], database: Any) -> Callable[..., TestResponse]:
    """Return a function that requests /auth with given sources."""
    database.hset(f"tokens:{sha256((TOKEN + PEPPER).encode()).hexdigest()}", "hosts", "a.test")

    def ask(sources: str, host: str = "a.test", **headers: str) -> TestResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return make_client(CREDENTIAL_SOURCES=sources).get(
            "/auth", headers={"X-Forwarded-Host": host} | named
        )

    return ask


@pytest.mark.parametrize(
    ("sources", "headers", "status"),
    [
        ("proxy-authorization", {"Proxy_Authorization": BEARER}, 200),
        ("proxy-authorization", {"Proxy_Authorization": BEARER, "Authorization": OTHER}, 200),
        ("proxy-authorization", {"Authorization": BEARER}, 401),
        ("x-api-key", {"X_Api_Key": TOKEN}, 200),
        ("x-api-key", {"X_Api_Key": BEARER}, 401),
        ("x-api-key", {"X_Api_Key": f"{TOKEN},{TOKEN}"}, 401),
        ("authorization,x-api-key", {"X_Api_Key": TOKEN}, 200),
        ("authorization,x-api-key", {"Authorization": OTHER, "X_Api_Key": TOKEN}, 401),
        ("authorization,x-api-key", {"Authorization": "", "X_Api_Key": TOKEN}, 401),
        ("authorization,x-api-key", {"Authorization": basic(f"x:{TOKEN}"), "X_Api_Key": TOKEN}, 401),
        ("x-api-key,authorization", {"Authorization": OTHER, "X_Api_Key": TOKEN}, 200),
        ("basic", {"Authorization": basic(f"anyone:{TOKEN}")}, 200),
        ("basic", {"Authorization": basic(f":{TOKEN}")}, 200),
        ("basic", {"Authorization": basic(TOKEN)}, 401),
        ("basic", {"Authorization": basic(f"{TOKEN}:")}, 401),
        ("basic", {"Authorization": basic(f"x:{TOKEN}:y")}, 401),
        ("basic", {"Authorization": basic(f"x:{TOKEN}é")}, 401),
        ("basic", {"Authorization": f"Basic {TOKEN}"}, 401),
        ("basic", {"Authorization": "Basic !!!"}, 401),
        ("basic", {"Authorization": BEARER}, 401),
        ("authorization,basic", {"Authorization": basic(f"x:{TOKEN}")}, 200),
        ("basic,authorization", {"Authorization": BEARER}, 200),
        ("basic,x-api-key,authorization", {"Authorization": BEARER, "X_Api_Key": "wrong"}, 401),
        ("authorization", {"Authorization": basic(f"x:{TOKEN}")}, 401),
        ("header:api-key", {"Api_Key": TOKEN}, 200),
        ("header:api-key", {"Api_Key": BEARER}, 401),
        ("header:api-key", {"Api_Key": f"{TOKEN},{TOKEN}"}, 401),
        ("header:api-key", {"X_Api_Key": TOKEN, "Authorization": BEARER}, 401),
        ("header:x-goog-api-key,authorization", {"X_Goog_Api_Key": "wrong", "Authorization": BEARER}, 401),
        ("authorization,header:x-goog-api-key", {"X_Goog_Api_Key": TOKEN}, 200),
    ],
)
def test_first_source_decides(
    ask: Callable[..., TestResponse], sources: str, headers: dict[str, str], status: int
) -> None:
    """The first source that is present decides, valid or not; no other is tried."""
    assert ask(sources, **headers).status_code == status


BEARER_ASKS = 'Bearer realm="acl-auth-service"'
BASIC_ASKS = 'Basic realm="acl-auth-service", charset="UTF-8"'
KEY_ASKS = 'ApiKey realm="acl-auth-service", header="X-Api-Key"'
HEADER_ASKS = 'ApiKey realm="acl-auth-service", header="Api-Key"'


def challenges(answer: TestResponse) -> list[str]:
    """Return the challenges of *answer*, in order."""
    return answer.headers.getlist("WWW-Authenticate")


@pytest.mark.parametrize(
    ("sources", "body", "expected"),
    [
        ("authorization", "missing bearer token", [BEARER_ASKS]),
        ("proxy-authorization", "missing bearer token", [BEARER_ASKS]),
        ("proxy-authorization,authorization", "missing bearer token", [BEARER_ASKS]),
        ("authorization,basic", "missing bearer token", [BEARER_ASKS, BASIC_ASKS]),
        ("basic,authorization", "missing bearer token", [BASIC_ASKS, BEARER_ASKS]),
        ("proxy-authorization,basic,authorization", "missing bearer token", [BEARER_ASKS, BASIC_ASKS]),
        ("x-api-key,basic,authorization", "missing bearer token", [BASIC_ASKS, BEARER_ASKS]),
        ("basic", "missing token", [BASIC_ASKS]),
        ("x-api-key,basic", "missing token", [BASIC_ASKS]),
        ("x-api-key", "missing token", [KEY_ASKS]),
        ("x-api-key,authorization", "missing bearer token", [BEARER_ASKS]),
        ("header:api-key", "missing token", [HEADER_ASKS]),
        ("header:api-key,x-api-key", "missing token", [HEADER_ASKS, KEY_ASKS]),
        ("header:api-key,authorization", "missing bearer token", [BEARER_ASKS]),
        ("header:api-key,basic", "missing token", [BASIC_ASKS]),
    ],
)
def test_challenges(ask: Callable[..., TestResponse], sources: str, body: str, expected: list[str]) -> None:
    """Without a token the challenges name each accepted scheme once, in order, and there is always one."""
    answer = ask(sources)

    assert (answer.status_code, answer.text, challenges(answer)) == (401, body, expected)


@pytest.mark.parametrize(
    ("sources", "error", "expected"),
    [
        ("basic", {"Authorization": basic("x:wrong")}, [BASIC_ASKS]),
        ("basic", {"Authorization": BEARER}, [BASIC_ASKS]),
        ("x-api-key", {"X_Api_Key": "wrong"}, [KEY_ASKS]),
        ("header:api-key", {"Api_Key": "wrong"}, [HEADER_ASKS]),
        (
            "basic,authorization",
            {"Authorization": OTHER},
            [BASIC_ASKS, f'{BEARER_ASKS}, error="invalid_token"'],
        ),
        (
            "authorization,basic",
            {"Authorization": basic("wrong")},
            [f'{BEARER_ASKS}, error="invalid_request"', BASIC_ASKS],
        ),
    ],
)
def test_refused_credential(
    ask: Callable[..., TestResponse], sources: str, error: dict[str, str], expected: list[str]
) -> None:
    """A bad token gets a challenge for each accepted scheme; only Bearer's has the error."""
    answer = ask(sources, **error)

    assert (answer.status_code, answer.text, challenges(answer)) == (401, "invalid token", expected)


@pytest.mark.parametrize(
    ("sources", "headers", "expected"),
    [
        ("basic", {"Authorization": basic(f"x:{TOKEN}")}, []),
        ("x-api-key", {"X_Api_Key": TOKEN}, []),
        ("header:api-key", {"Api_Key": TOKEN}, []),
        (
            "basic,authorization",
            {"Authorization": basic(f"x:{TOKEN}")},
            [f'{BEARER_ASKS}, error="insufficient_scope"'],
        ),
    ],
)
def test_wrong_host(
    ask: Callable[..., TestResponse], sources: str, headers: dict[str, str], expected: list[str]
) -> None:
    """A valid token for another host does not ask for another password; Bearer's challenge has the error."""
    answer = ask(sources, host="b.test", **headers)

    assert (answer.status_code, answer.text, challenges(answer)) == (403, "forbidden for host", expected)
