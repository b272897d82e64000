"""Checks that apply to every route but /auth."""

from __future__ import annotations

from html import unescape
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
        "/authx",
        "/nowhere",
        "/x/../auth/",
    ]


@pytest.mark.parametrize("header", ["X-Forwarded-Method", "X-Forwarded-Uri", "x-forwarded-uri"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS", "DELETE"])
def test_subrequests_open_nothing(client: FlaskClient, header: str, method: str) -> None:
    """A ForwardAuth request to any other address is refused, even with the operator's password."""
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
    """Forms are accepted from our own pages and from clients other than browsers only."""
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
    """An explicit default port equals an omitted one."""
    assert operator.post("/create_token", FORM, headers={"Host": host, "Origin": origin}).status_code == 200


@pytest.mark.parametrize("path", ["/", "/nowhere", "/healthz", "/static/style.css"])
def test_security_headers(client: FlaskClient, path: str) -> None:
    """Every response, including errors, forbids caching, framing, sniffing and foreign scripts."""
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
    """A malformed query string is a 400 on every route, not a 500."""
    raw = {"QUERY_STRING": query}
    answers = [client.get(path, environ_overrides=raw, auth=OPERATOR) for path in paths(client)]

    assert {answer.status_code for answer in answers} == {400}


@pytest.mark.parametrize(
    "host",
    [
        *(
            "a..b",
            "",
            " ",
            ".",
            "a b",
            "a@b",
            "a/b",
            "a,b",
            "[::1",
            "::1",
            "[::1]]",
            "a:1:2",
            "a:x",
            "a:99999",
        ),
        *("x" * 300, "b\xfccher.example", "a_\x00", "-a", "a%20b", "*.a.test", "1.2.3.4.5", "[a.test]"),
    ],
)
def test_malformed_host(client: FlaskClient, host: str) -> None:
    """A malformed Host is a 400 on every route but /auth, which ignores it."""
    sent = {"HTTP_HOST": host}
    answers = [client.get(path, environ_overrides=sent, auth=OPERATOR) for path in paths(client)]

    assert {answer.status_code for answer in answers} == {400}
    assert client.get("/auth", environ_overrides=sent).status_code == 401
    assert client.get("/api/v1/tokens", environ_overrides=sent).mimetype == "application/problem+json"


@pytest.mark.parametrize(
    "host", ["a.test", "A.test.:8000", "a:", "10.0.0.1:80", "[::1]:8", "my_host", "xn--bcher-kva.example"]
)
def test_host(client: FlaskClient, host: str) -> None:
    """Every well-formed Host is accepted."""
    assert client.get("/livez", environ_overrides={"HTTP_HOST": host}).status_code == 200


@pytest.mark.parametrize(
    "path", ["//tokens//x", "/tokens//x", "/tokens/x/", "//evil.test/tokens/", "/static//style.css"]
)
def test_no_redirect_to_the_received_host(client: FlaskClient, path: str) -> None:
    """No path is redirected to another one, nor to the host in the request."""
    answer = client.get("/", environ_overrides={"PATH_INFO": path, "HTTP_HOST": "evil.test"}, auth=OPERATOR)

    assert answer.status_code == 404
    assert "Location" not in answer.headers


def test_locations(operator: Operator) -> None:
    """Every Location begins with a slash, whatever the Host."""
    evil = {"Host": "evil.test:99"}
    created = operator.post("/api/v1/tokens", json={"hosts": ["a.test"]}, headers=evil)
    form = {"token": created.json["id"]} if created.json else {}
    answers = [
        created,
        *(
            operator.post(f"/{verb}_token", form, headers=evil)
            for verb in ("edit", "disable", "enable", "delete")
        ),
    ]

    assert [answer.status_code for answer in answers] == [201, 303, 303, 303, 303]
    assert {answer.headers["Location"][:2] for answer in answers} <= {"/a", "/t", "/?"}


@pytest.mark.parametrize(
    ("headers", "named", "advice"),
    [
        (
            {"Origin": "http://admin.lan:8080", "Host": "admin.lan"},
            ["&#39;http://admin.lan:8080&#39;", "&#39;admin.lan&#39;"],
            "proxy_set_header Host $http_host",
        ),
        ({"Origin": "<b>\xe9\x1b[2J", "Host": "admin.lan"}, ["&lt;b&gt;\\xe9\\x1b[2J"], "$http_host"),
        ({"Sec-Fetch-Site": "cross-site", "Host": "a.lan"}, ["&#39;cross-site&#39;"], "send it from there"),
    ],
)
def test_refused_form_gives_the_reason(
    operator: Operator,
    caplog: pytest.LogCaptureFixture,
    headers: dict[str, str],
    named: list[str],
    advice: str,
) -> None:
    """The page and the log contain what was received, escaped, and the remedy."""
    environ = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()}
    answer = operator.post("/create_token", FORM, environ_overrides=environ)

    assert answer.status_code == 403
    assert all(text in answer.text for text in [*named, advice])
    assert all(unescape(text) in caplog.text for text in [*named, advice])


def test_form_to_a_host_with_an_underscore(operator: Operator) -> None:
    """A form is accepted under a host name with an underscore, as used in private networks."""
    headers = {"Host": "auth_service:8000", "Origin": "http://auth_service:8000"}

    assert operator.post("/create_token", FORM, headers=headers).status_code == 200
