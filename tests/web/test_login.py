"""Limits on guesses of the operator's password."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app.core.logins import WRONG_IN_ALL, WRONG_PER_CLIENT, WRONG_PER_NETWORK
from tests.web.conftest import OPERATOR

N, ALL = WRONG_PER_CLIENT.max_requests, WRONG_IN_ALL.max_requests
WRONG = ("operator", "a-guess")


def login(
    client: FlaskClient, password: tuple[str, str] | None, peer: str = "203.0.113.7", **headers: str
) -> TestResponse:
    """Request the first page from the address *peer*."""
    environ = {"REMOTE_ADDR": peer}
    return client.get("/", auth=password, environ_overrides=environ, headers=headers)


def test_too_many(client: FlaskClient) -> None:
    """After too many wrong passwords, an address gets 429 even with the right one; others are unaffected."""
    assert [login(client, WRONG).status_code for _ in range(N)] == [401] * N
    wrong, right = login(client, WRONG), login(client, OPERATOR)

    assert wrong.status_code == right.status_code == 429
    assert wrong.text.startswith("too many wrong passwords from your address; try again in ")
    assert 0 < right.headers.get("Retry-After", 0, int) <= WRONG_PER_CLIENT.window_s
    assert right.headers["Cache-Control"] == "no-store"
    assert login(client, OPERATOR, "198.51.100.1").status_code == 200


def test_many_addresses(client: FlaskClient) -> None:
    """While guesses from many addresses are blocked, an address that has signed in before still can."""
    assert login(client, OPERATOR).status_code == 200
    guesses = [login(client, WRONG, f"10.0.{number}.1").status_code for number in range(ALL + 10)]

    assert guesses == [401] * ALL + [429] * 10
    assert "from many addresses" in login(client, OPERATOR, "198.51.100.1").text
    assert login(client, OPERATOR).status_code == 200


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Basic",
        "Basic !",
        "Basic " + b64encode(b":").decode(),
        "Basic " + b64encode(b"nocolon").decode(),
        "Bearer x",
        "Digest username=operator",
    ],
)
def test_no_guess(client: FlaskClient, database: Any, authorization: str | None) -> None:
    """A request without a password, a browser's first, is refused and not counted."""
    headers = {} if authorization is None else {"Authorization": authorization}

    assert [login(client, None, **headers).status_code for _ in range(N + 1)] == [401] * (N + 1)
    assert database.dbsize() == 0


@pytest.mark.parametrize(
    "guess",
    [
        ("operator", "x"),
        ("x", "correct horse"),
        ("operator", ""),
        ("", "x"),
        ("é", "日本"),
        ("x" * 9000, "x"),
    ],
)
def test_guesses(client: FlaskClient, guess: tuple[str, str]) -> None:
    """A wrong user name counts like a wrong password, whatever its characters."""
    assert [login(client, guess).status_code for _ in range(N + 1)] == [401] * N + [429]


def test_right_passwords_between(client: FlaskClient) -> None:
    """Right passwords in between do not allow more wrong ones."""
    codes = [login(client, password).status_code for password in [*[WRONG] * (N - 1), OPERATOR] * 10]

    assert (codes.count(401), codes.count(200)) == (N, 1)


def test_network(client: FlaskClient) -> None:
    """A network that used up its guesses is told so, and other networks are unaffected."""
    guesses = [
        login(client, WRONG, f"2001:db8:0:{number}::1").status_code for number in range(4) for _ in range(60)
    ]

    assert guesses.count(401) == WRONG_PER_NETWORK["56"].max_requests
    assert login(client, OPERATOR, "2001:db8:0:7::1").text.startswith(
        "too many wrong passwords from your network"
    )
    assert login(client, OPERATOR, "2001:db8:1::1").status_code == 200


def test_unknown_proxy(client: FlaskClient, caplog: pytest.LogCaptureFixture) -> None:
    """An untrusted X-Forwarded-For is ignored, and the log explains how to trust a proxy."""
    codes = [login(client, WRONG, **{"X-Forwarded-For": f"10.0.0.{n}"}).status_code for n in range(N + 1)]

    assert codes == [401] * N + [429]
    assert "203.0.113.7" in caplog.text
    assert "TRUSTED_PROXIES" in caplog.text
    assert WRONG[1] not in caplog.text


def test_trusted_proxy(make_client: Callable[..., FlaskClient]) -> None:
    """Clients of a trusted proxy are counted separately, whatever X-Forwarded-For they send."""
    client = make_client(TRUSTED_PROXIES="172.18.0.0/16")

    def code(password: tuple[str, str], forwarded_for: str) -> int:
        return login(client, password, "172.18.0.2", **{"X-Forwarded-For": forwarded_for}).status_code

    assert [code(WRONG, f"10.0.0.{n}, 203.0.113.7") for n in range(N + 1)] == [401] * N + [429]
    assert code(OPERATOR, "203.0.113.7") == 429
    assert code(OPERATOR, "198.51.100.1") == 200


def test_unix_socket(client: FlaskClient) -> None:
    """All clients of a Unix socket without addresses count as one."""
    assert [login(client, WRONG, "").status_code for _ in range(N + 1)] == [401] * N + [429]


@pytest.mark.parametrize("admin_pass", ["pässwörd", "Ã¤Â", "naïve ✓", "日本", "plain:with:colons"])
def test_characters(make_client: Callable[..., FlaskClient], admin_pass: str) -> None:
    """A password is accepted in UTF-8, which the challenge asks for, or in Latin-1 where that is possible."""
    client = make_client(ADMIN_USER="ädmin", ADMIN_PASS=admin_pass)

    def code(user: bytes, password: bytes) -> int:
        return client.get(
            "/", headers={"Authorization": f"Basic {b64encode(user + b':' + password).decode()}"}
        ).status_code

    latin_1 = admin_pass.encode("latin-1", "replace")
    assert code("ädmin".encode(), admin_pass.encode()) == 200
    assert code("ädmin".encode("latin-1"), latin_1) == (401 if b"?" in latin_1 else 200)
    for wrong in (
        admin_pass.encode("utf-16"),
        admin_pass.encode("ascii", "replace"),
        admin_pass.encode("utf-8") + b"\xff",
        b"\xff",
    ):
        assert code("ädmin".encode(), wrong) == (200 if wrong == admin_pass.encode() else 401)


def test_challenge(client: FlaskClient) -> None:
    """The pages and the API ask the browser for UTF-8."""
    challenges = {client.get(path).headers["WWW-Authenticate"] for path in ("/", "/api/v1/tokens")}

    assert challenges == {'Basic realm="acl-auth-service admin", charset="UTF-8"'}


def test_redis_down(offline: FlaskClient) -> None:
    """When Redis is down, neither the right password nor a wrong one is checked."""
    answers = [login(offline, password) for password in (WRONG, OPERATOR)]

    assert [answer.status_code for answer in answers] == [503, 503]
    assert "Redis is unavailable" in answers[0].text
    assert login(offline, None).status_code == 401


@pytest.mark.parametrize("path", ["/auth", "/livez", "/healthz", "/static/style.css"])
def test_other_routes(client: FlaskClient, database: Any, path: str) -> None:
    """Passwords sent to routes that require none are not counted."""
    client.get(path, auth=WRONG).close()

    assert database.dbsize() == 0
