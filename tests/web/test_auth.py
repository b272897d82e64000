"""/auth over HTTP: one response for each verdict."""

from __future__ import annotations

import time
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app import create_app
from app.core.verdicts import Verdict
from app.services import services_of
from app.store import keys
from app.web.answers import OUTCOMES
from devkit.builders import PEPPER, make_settings

TOKEN = "from-an-older-deployment"
RECORD = f"tokens:{sha256((TOKEN + PEPPER).encode()).hexdigest()}"
REALM = 'Bearer realm="acl-auth-service"'


def ask(
    client: FlaskClient, token: str | None = TOKEN, host: str | None = "example.com", **more: Any
) -> TestResponse:
    """Request /auth as Traefik does."""
    headers = {"X-Forwarded-Method": "GET", "X-Forwarded-Uri": "/secret?a=b"}
    headers |= {"Authorization": f"Bearer {token}"} if token is not None else {}
    headers |= {"X-Forwarded-Host": host} if host is not None else {}
    return client.open("/auth", **{"method": "GET", "headers": headers | more.pop("headers", {})} | more)


@pytest.fixture
def record(database: Any) -> str:
    """Store a token for example.com; return the key of its record."""
    database.hset(RECORD, "hosts", "example.com")
    return RECORD


def test_every_verdict_has_its_outcome() -> None:
    """Every verdict has a response, and exactly one of them is a 200."""
    assert set(OUTCOMES) == set(Verdict)
    assert [verdict for verdict, outcome in OUTCOMES.items() if outcome.status == 200] == [Verdict.ALLOWED]
    assert {outcome.status for outcome in OUTCOMES.values()} == {200, 401, 403, 429, 503}


def test_unlogged() -> None:
    """An allowed request does not even reach the log, except at level debug; every refusal does."""
    usual, debug = (services_of(create_app(make_settings(LOG_LEVEL=level))) for level in ("info", "DEBUG"))

    assert usual.unlogged == {Verdict.ALLOWED, Verdict.UNAVAILABLE}
    assert debug.unlogged == {Verdict.UNAVAILABLE}


def test_expired(client: FlaskClient, database: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A token that expired in the last 30 days gets that as its reason, and log and metrics identify it."""
    database.set(f"{{{RECORD}}}:ended", "1m85v745vvbyf6sq", px=keys.REMEMBERED_MS)
    caplog.set_level("INFO")
    answer = ask(client)

    challenge = f'{REALM}, error="invalid_token", error_description="the token expired"'
    assert (answer.status_code, answer.text) == (401, "invalid token")
    assert answer.headers["WWW-Authenticate"] == challenge
    assert "refused verdict=expired_token token=1m85v745vvbyf6sq host='example.com'" in caplog.text
    assert 'acl_auth_decisions_total{verdict="expired_token"}' in client.get("/metrics").text
    assert ask(client, "another").headers["WWW-Authenticate"] == f'{REALM}, error="invalid_token"'


@pytest.mark.usefixtures("record")
def test_allowed(client: FlaskClient) -> None:
    """An allowed request gets 200 and every identity header, including empty ones."""
    answer = ask(client)

    assert (answer.status_code, answer.text) == (200, "OK")
    assert answer.headers["X-Auth-Token-Id"] == "0" + RECORD[7:22]
    assert (answer.headers["X-Auth-Email"], answer.headers["X-Auth-Comment"]) == ("", "")


@pytest.mark.parametrize(
    ("comment", "header"),
    [
        (b"plain ~ ASCII, 100%", "plain ~ ASCII, 100%"),
        ("日本".encode(), "%E6%97%A5%E6%9C%AC"),
        (b"a\r\nX-Evil: 1", "a%0D%0AX-Evil: 1"),
        (b"\xff\x00\x7f", "%FF%00%7F"),
    ],
)
def test_identity_in_headers(client: FlaskClient, database: Any, comment: bytes, header: str) -> None:
    """Printable ASCII is kept and every other byte is percent-encoded."""
    database.hset(RECORD, mapping={"hosts": "*", "comment": comment})

    assert ask(client).headers["X-Auth-Comment"] == header


def test_no_credential(client: FlaskClient) -> None:
    """A request without a credential is challenged without an error code (RFC 6750 section 3.1)."""
    answer = ask(client, token=None)

    assert (answer.status_code, answer.text) == (401, "missing bearer token")
    assert answer.headers["WWW-Authenticate"] == REALM


@pytest.mark.parametrize("token", ["unknown", "acl_" + "x" * 38])
def test_unknown_token(client: FlaskClient, database: Any, token: str) -> None:
    """An unknown token is refused, and nothing is written to Redis."""
    answer = ask(client, token=token)

    assert (answer.status_code, answer.text) == (401, "invalid token")
    assert answer.headers["WWW-Authenticate"] == f'{REALM}, error="invalid_token"'
    assert database.dbsize() == 0


@pytest.mark.usefixtures("record")
@pytest.mark.parametrize(
    "sent",
    [
        "",
        "Bearer",
        "Bearer ",
        f"Bearer\t{TOKEN}",
        f"Bearer {TOKEN} ",
        f"Bearer {TOKEN},Bearer {TOKEN}",
        f"Bearer {TOKEN}, Basic eDp5",
        f"Bearer {TOKEN} {TOKEN}",
        f'Bearer "{TOKEN}"',
        f"Bearer {TOKEN}\N{LATIN SMALL LETTER E WITH ACUTE}",
        f"Bearer {TOKEN}\N{NO-BREAK SPACE}",
        f"Basic {TOKEN}",
        f"Digest {TOKEN}",
        f"Token {TOKEN}",
        f"Bearer{TOKEN}",
        f"Bearer:{TOKEN}",
        TOKEN,
        "Bearer " + "a" * 513,
        "Bearer %20",
    ],
)
def test_malformed_credential(client: FlaskClient, sent: str) -> None:
    """Anything but exactly one bearer token is refused."""
    answer = ask(client, headers={"Authorization": sent})

    assert (answer.status_code, answer.text) == (401, "invalid token")
    assert answer.headers["WWW-Authenticate"] == f'{REALM}, error="invalid_request"'


@pytest.mark.usefixtures("record")
@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER ", "bEaReR     "])
def test_scheme(client: FlaskClient, scheme: str) -> None:
    """The scheme is case-insensitive and followed by one or more spaces (RFC 9110 section 11.1)."""
    assert ask(client, headers={"Authorization": scheme + TOKEN}).status_code == 200


@pytest.mark.parametrize("token", ["a", "a" * 512, "A9._~+/=-", "x=="])
def test_grammar_of_older_tokens(client: FlaskClient, database: Any, token: str) -> None:
    """Any token68 string of up to 512 characters may be a secret of an older deployment."""
    database.hset(f"tokens:{sha256((token + PEPPER).encode()).hexdigest()}", "hosts", "*")

    assert ask(client, token=token).status_code == 200


@pytest.mark.usefixtures("record")
@pytest.mark.parametrize(
    "host", [None, "", "other.com", "www.example.com", "a,example.com", "example.com, example.com"]
)
def test_wrong_host(client: FlaskClient, host: str | None) -> None:
    """A known token for another host, or with a missing or malformed host, is a 403."""
    answer = ask(client, host=host)

    assert (answer.status_code, answer.text) == (403, "forbidden for host")
    assert answer.headers["WWW-Authenticate"] == f'{REALM}, error="insufficient_scope"'


def test_host_header_is_no_substitute(client: FlaskClient, record: str, database: Any) -> None:
    """Without X-Forwarded-Host every request is refused, whatever its Host header."""
    database.hset(record, "hosts", "*")

    assert (
        ask(client, host=None, headers={"Host": "example.com", "Forwarded": "host=example.com"}).status_code
        == 403
    )


@pytest.mark.usefixtures("record")
def test_over_its_limit(make_client: Callable[..., FlaskClient]) -> None:
    """A token over its rate limit gets the time to wait in every header that clients know."""
    client = make_client(RATE_LIMIT_MAX=2, RATE_LIMIT_WINDOW_SEC=60)

    *admitted, answer = (ask(client) for _ in range(3))

    assert [a.status_code for a in admitted] == [200, 200]
    assert (answer.status_code, answer.text) == (429, "rate limit exceeded")
    assert answer.headers["Retry-After"] == "60"
    assert answer.headers["RateLimit-Policy"] == '"default";q=2;w=60'
    assert answer.headers["RateLimit"] == '"default";r=0;t=60'
    assert [answer.headers[f"X-RateLimit-{name}"] for name in ("Limit", "Remaining", "Reset")] == [
        "2",
        "0",
        "60",
    ]


@pytest.mark.parametrize(("rate_limit", "others"), [(0, ""), (5, '"default";q=5;w=60, ')])
def test_over_its_quota(
    make_client: Callable[..., FlaskClient], database: Any, rate_limit: int, others: str
) -> None:
    """Over its quota a token is told when the period ends, and both of its limits."""
    at = int(time.time())
    used = f"{at - 82_800} {at + 3_600} 1"
    quota = {"quota_max": "1", "quota_period": "day", "quota_used": used}
    database.hset(RECORD, mapping={"hosts": "example.com"} | quota)
    answer = ask(make_client(RATE_LIMIT_MAX=rate_limit, RATE_LIMIT_WINDOW_SEC=60))

    wait_s = answer.headers["Retry-After"]
    assert (answer.status_code, answer.text) == (429, "quota exceeded")
    assert 3_600 - (time.time() - at) <= int(wait_s) <= 3_600
    assert answer.headers["RateLimit-Policy"] == f'{others}"quota";q=1;w=86400'
    assert answer.headers["RateLimit"] == f'"quota";r=0;t={wait_s}'
    assert [answer.headers[f"X-RateLimit-{name}"] for name in ("Limit", "Remaining", "Reset")] == [
        "1",
        "0",
        wait_s,
    ]
    assert database.hget(RECORD, "quota_used") == used


def test_over_its_rate_limit_with_a_quota(client: FlaskClient, database: Any) -> None:
    """A token over its rate limit is told its quota, too."""
    limits = {"rate_limit_max": "1", "rate_limit_window_sec": "600", "quota_max": "9", "quota_period": "day"}
    database.hset(RECORD, mapping={"hosts": "example.com"} | limits)
    answers = [ask(client) for _ in range(2)]

    assert [answer.text for answer in answers] == ["OK", "rate limit exceeded"]
    assert answers[1].headers["RateLimit-Policy"] == '"default";q=1;w=600, "quota";q=9;w=86400'
    assert answers[1].headers["RateLimit"] == '"default";r=0;t=600'
    assert answers[1].headers["X-RateLimit-Limit"] == "1"


@pytest.mark.usefixtures("record")
def test_unlimited(make_client: Callable[..., FlaskClient]) -> None:
    """With RATE_LIMIT_MAX=0 every request is allowed."""
    client = make_client(RATE_LIMIT_MAX=0)

    assert {ask(client).status_code for _ in range(20)} == {200}


def test_redis_down(offline: FlaskClient) -> None:
    """Without Redis every request is refused with a 503."""
    answer = ask(offline)

    assert (answer.status_code, answer.text) == (503, "redis unavailable")
    assert answer.headers["Retry-After"] == "1"


def test_anything_unforeseen(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug in the gate is a 503, neither a 500 nor a 200."""
    monkeypatch.setattr(client.application.extensions["acl-auth-service"].gate, "check", lambda _: 1 / 0)

    assert ask(client).status_code == 503


@pytest.mark.parametrize("token", [TOKEN, None, "unknown"])
@pytest.mark.usefixtures("record")
def test_every_answer(client: FlaskClient, token: str | None) -> None:
    """Every response is small plain text that is not cached and sets no cookie."""
    answer = ask(client, token=token)

    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert len(answer.data) <= 256
    assert not {"Set-Cookie", "Location", "Content-Security-Policy"} & set(answer.headers.keys())


@pytest.mark.usefixtures("record")
@pytest.mark.parametrize(
    "method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "X"]
)
def test_every_method(client: FlaskClient, method: str) -> None:
    """The method makes no difference, whether the token is valid or missing."""
    assert ask(client, method=method).status_code == 200
    assert ask(client, method=method, token=None).status_code == 401


@pytest.mark.usefixtures("record")
@pytest.mark.parametrize(
    "more",
    [
        {"query_string": f"access_token={TOKEN}&host=example.com"},
        {"data": {"access_token": TOKEN}, "method": "POST"},
        {"headers": {"Cookie": f"token={TOKEN}"}},
        {"headers": {"Proxy-Authorization": f"Bearer {TOKEN}"}},
        {"headers": {"X-Api-Key": TOKEN}},
        {"headers": {"If-None-Match": "*", "Range": "bytes=0-0", "Accept": "x/y"}},
    ],
)
def test_irrelevant_parts_of_a_request(client: FlaskClient, more: dict[str, Any]) -> None:
    """Only the credential and the host matter; nothing else allows or refuses a request."""
    assert ask(client, token=None, **more).status_code == 401
    assert ask(client, **more).status_code == 200


def test_disabled_token(client: FlaskClient, record: str, database: Any) -> None:
    """A disabled token gets the same response as an unknown one."""
    database.hset(record, "enabled", "0")

    assert ask(client).headers["WWW-Authenticate"] == f'{REALM}, error="invalid_token"'


@pytest.mark.usefixtures("record")
def test_realm(make_client: Callable[..., FlaskClient]) -> None:
    """AUTH_REALM is the realm of the challenges."""
    assert (
        ask(make_client(AUTH_REALM="my lab"), token=None).headers["WWW-Authenticate"]
        == 'Bearer realm="my lab"'
    )


def test_refusals_are_logged_without_the_token(
    client: FlaskClient, record: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A refusal is logged with its reason, token id and host, but without the secret."""
    caplog.set_level("INFO")
    ask(client, host="other.com")

    assert f"refused verdict=wrong_host token=0{record[7:22]} host='other.com'" in caplog.text
    assert TOKEN not in caplog.text


def test_healthz(client: FlaskClient, offline: FlaskClient) -> None:
    """/healthz reports whether Redis is usable."""
    assert (client.get("/healthz").status_code, client.get("/healthz").text) == (200, "ok")
    assert (offline.get("/healthz").status_code, offline.get("/healthz").text) == (503, "redis unavailable")


def test_livez(offline: FlaskClient) -> None:
    """/livez reports that the process is alive, whatever the state of Redis."""
    assert (offline.get("/livez").status_code, offline.get("/livez").text) == (200, "ok")
