"""Guessing the operator's password."""

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
    """Open the first page from the address *peer*."""
    environ = {"REMOTE_ADDR": peer}
    return client.get("/", auth=password, environ_overrides=environ, headers=headers)


def test_too_many(client: FlaskClient) -> None:
    """After so many wrong passwords nothing tells the right one from a wrong one; elsewhere it works."""
    assert [login(client, WRONG).status_code for _ in range(N)] == [401] * N
    wrong, right = login(client, WRONG), login(client, OPERATOR)

    assert wrong.status_code == right.status_code == 429
    assert wrong.text.startswith("too many wrong passwords from your address; try again in ")
    assert 0 < right.headers.get("Retry-After", 0, int) <= WRONG_PER_CLIENT.window_s
    assert right.headers["Cache-Control"] == "no-store"
    assert login(client, OPERATOR, "198.51.100.1").status_code == 200


def test_many_addresses(client: FlaskClient) -> None:
    """When guesses come from everywhere, the operator goes on from where the right password came before."""
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
    """A request without a password, as every browser begins, is refused and not counted."""
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
    """A wrong user and a wrong password count alike, whatever they are made of."""
    assert [login(client, guess).status_code for _ in range(N + 1)] == [401] * N + [429]


def test_right_passwords_between(client: FlaskClient) -> None:
    """However often the right password comes between, no more wrong ones are answered."""
    codes = [login(client, password).status_code for password in [*[WRONG] * (N - 1), OPERATOR] * 10]

    assert (codes.count(401), codes.count(200)) == (N, 1)


def test_network(client: FlaskClient) -> None:
    """A customer with many addresses is told so, and shuts out nobody else."""
    guesses = [
        login(client, WRONG, f"2001:db8:0:{number}::1").status_code for number in range(4) for _ in range(60)
    ]

    assert guesses.count(401) == WRONG_PER_NETWORK["56"].max_requests
    assert login(client, OPERATOR, "2001:db8:0:7::1").text.startswith(
        "too many wrong passwords from your network"
    )
    assert login(client, OPERATOR, "2001:db8:1::1").status_code == 200


def test_unknown_proxy(client: FlaskClient, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody gets another address by claiming it, and the log says what to do if it was a proxy that did."""
    codes = [login(client, WRONG, **{"X-Forwarded-For": f"10.0.0.{n}"}).status_code for n in range(N + 1)]

    assert codes == [401] * N + [429]
    assert "203.0.113.7" in caplog.text
    assert "TRUSTED_PROXIES" in caplog.text
    assert WRONG[1] not in caplog.text


def test_trusted_proxy(make_client: Callable[..., FlaskClient]) -> None:
    """Clients of a proxy that is named are told apart, and what they write in front of it changes nothing."""
    client = make_client(TRUSTED_PROXIES="172.18.0.0/16")

    def code(password: tuple[str, str], forwarded_for: str) -> int:
        return login(client, password, "172.18.0.2", **{"X-Forwarded-For": forwarded_for}).status_code

    assert [code(WRONG, f"10.0.0.{n}, 203.0.113.7") for n in range(N + 1)] == [401] * N + [429]
    assert code(OPERATOR, "203.0.113.7") == 429
    assert code(OPERATOR, "198.51.100.1") == 200


def test_unix_socket(client: FlaskClient) -> None:
    """A socket without addresses is one client."""
    assert [login(client, WRONG, "").status_code for _ in range(N + 1)] == [401] * N + [429]


@pytest.mark.parametrize("kept", ["pässwörd", "Ã¤Â", "naïve ✓", "日本", "plain:with:colons"])
def test_characters(make_client: Callable[..., FlaskClient], kept: str) -> None:
    """A password is taken in UTF-8, as we ask for, and in Latin-1 if that has its characters; else not."""
    client = make_client(ADMIN_USER="ädmin", ADMIN_PASS=kept)

    def code(user: bytes, password: bytes) -> int:
        return client.get(
            "/", headers={"Authorization": f"Basic {b64encode(user + b':' + password).decode()}"}
        ).status_code

    latin_1 = kept.encode("latin-1", "replace")
    assert code("ädmin".encode(), kept.encode()) == 200
    assert code("ädmin".encode("latin-1"), latin_1) == (401 if b"?" in latin_1 else 200)
    for wrong in (
        kept.encode("utf-16"),
        kept.encode("ascii", "replace"),
        kept.encode("utf-8") + b"\xff",
        b"\xff",
    ):
        assert code("ädmin".encode(), wrong) == (200 if wrong == kept.encode() else 401)


def test_challenge(client: FlaskClient) -> None:
    """The browser is asked for UTF-8, by pages and API alike."""
    challenges = {client.get(path).headers["WWW-Authenticate"] for path in ("/", "/api/v1/tokens")}

    assert challenges == {'Basic realm="acl-auth-service admin", charset="UTF-8"'}


def test_nobody_remembers(stranded: FlaskClient) -> None:
    """When Redis is down, no password is answered, right or wrong."""
    answers = [login(stranded, password) for password in (WRONG, OPERATOR)]

    assert [answer.status_code for answer in answers] == [503, 503]
    assert "Redis is unavailable" in answers[0].text
    assert login(stranded, None).status_code == 401


@pytest.mark.parametrize("path", ["/auth", "/livez", "/healthz", "/static/style.css"])
def test_other_routes(client: FlaskClient, database: Any, path: str) -> None:
    """Where no password is asked for, none is counted."""
    client.get(path, auth=WRONG).close()

    assert database.dbsize() == 0
