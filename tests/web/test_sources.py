"""Where a token may come in."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.make import PEPPER

TOKEN = "from-an-older-deployment"
BEARER, OTHER = f"Bearer {TOKEN}", "Bearer something-else"


def basic(text: str) -> str:
    """Return *text* as Basic credentials."""
    return "Basic " + b64encode(text.encode()).decode()


@pytest.fixture
def ask(make_client: Callable[..., FlaskClient], database: Any) -> Callable[..., tuple[int, list[str]]]:
    """Return what asks /auth under given sources; the answer is its status and its challenges."""
    database.hset(f"tokens:{sha256((TOKEN + PEPPER).encode()).hexdigest()}", "hosts", "*")

    def ask(sources: str, **headers: str) -> tuple[int, list[str]]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = make_client(CREDENTIAL_SOURCES=sources).get(
            "/auth", headers={"X-Forwarded-Host": "a.test"} | named
        )
        return answer.status_code, answer.headers.getlist("WWW-Authenticate")

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
    ],
)
def test_first_source_decides(
    ask: Callable[..., tuple[int, list[str]]], sources: str, headers: dict[str, str], status: int
) -> None:
    """The first source that was sent decides, good or bad: nothing falls through to the next."""
    assert ask(sources, **headers)[0] == status


def test_challenges(ask: Callable[..., tuple[int, list[str]]]) -> None:
    """Where passwords are taken, a refusal asks for one too, as git needs it."""
    bearer = 'Bearer realm="acl-auth-service"'

    assert ask("authorization") == (401, [bearer])
    assert ask("authorization,basic") == (401, [bearer, 'Basic realm="acl-auth-service", charset="UTF-8"'])
