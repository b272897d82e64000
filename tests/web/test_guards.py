"""What stands before every other route."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.web.conftest import OPERATOR, Operator

FORM = {"hosts": "example.com"}


def paths(client: FlaskClient) -> list[str]:
    """Return a path for each route but /auth, and some without a route."""
    rules = [str(rule) for rule in client.application.url_map.iter_rules() if rule.endpoint != "auth.check"]
    return [
        *(rule.replace("<path:filename>", "style.css") for rule in rules),
        "/auth/",
        "/nowhere",
        "/auth/../",
    ]


@pytest.mark.parametrize("header", ["X-Forwarded-Method", "X-Forwarded-Uri", "x-forwarded-uri"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS", "DELETE"])
def test_subrequests_open_nothing(client: FlaskClient, header: str, method: str) -> None:
    """A ForwardAuth that was sent anywhere but to /auth is refused, even with the operator's password."""
    answers = [
        client.open(path, method=method, headers={header: ""}, auth=OPERATOR) for path in paths(client)
    ]

    assert {answer.status_code for answer in answers} == {403}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "null"}, 200),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "none"}, 403),
        ({"Sec-Fetch-Site": ""}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://admin.lan:8000"}, 403),
        ({"Origin": "http://admin.lan:8000"}, 200),
        ({"Origin": "https://admin.lan:8000"}, 200),
        ({"Origin": "http://ADMIN.lan:8000"}, 200),
        ({"Origin": "http://admin.lan"}, 403),
        ({"Origin": "http://admin.lan:8001"}, 403),
        ({"Origin": "http://evil.lan:8000"}, 403),
        ({"Origin": "http://admin.lan:8000.evil.lan"}, 403),
        ({"Origin": "http://admin.lan:x"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": ""}, 403),
        ({"Origin": "ftp://admin.lan:8000"}, 403),
        ({"Origin": "http://[::1"}, 403),
    ],
)
def test_cross_site_requests_change_nothing(
    operator: Operator, database: Any, headers: dict[str, str], status: int
) -> None:
    """A form is taken from our own pages and from what is no browser; all others leave Redis as it was."""
    answer = operator.post("/create_token", FORM, headers={"Host": "admin.lan:8000"} | headers)

    assert answer.status_code == status
    assert (database.dbsize() > 0) == (status == 200)


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("admin.lan", "http://admin.lan"),
        ("admin.lan:443", "https://admin.lan"),
        ("[::1]:8", "http://[::1]:8"),
    ],
)
def test_default_ports(operator: Operator, host: str, origin: str) -> None:
    """A port that goes without saying is the same said or unsaid."""
    assert operator.post("/create_token", FORM, headers={"Host": host, "Origin": origin}).status_code == 200


@pytest.mark.parametrize("path", ["/", "/nowhere", "/healthz", "/static/style.css"])
def test_security_headers(client: FlaskClient, path: str) -> None:
    """Every answer, errors included, is neither cached nor framed nor sniffed, and runs no foreign script."""
    with client.get(path) as answer:
        headers = answer.headers

    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cache-Control"] == "no-store" or path.startswith("/static")


@pytest.mark.parametrize("query", ["\xff", "page=\xed\xa0\x80", "\xc3\xa9=1"])
def test_raw_query(client: FlaskClient, query: str) -> None:
    """A query string that is no URL's is a bad request on every route, and no error of ours."""
    raw = {"QUERY_STRING": query}
    answers = [client.get(path, environ_overrides=raw, auth=OPERATOR) for path in paths(client)]

    assert {answer.status_code for answer in answers} == {400}
