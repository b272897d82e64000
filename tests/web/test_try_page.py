"""The page that tries a request."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from html import unescape
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.web.conftest import Operator
from tests.web.test_api import Api
from tests.web.test_trials import FITTING, RESTRICTED


@pytest.fixture(name="client")
def _client(make_client: Callable[..., FlaskClient]) -> FlaskClient:
    return make_client(TRUSTED_PROXIES="private", RATE_LIMIT_MAX=1, RATE_LIMIT_WINDOW_SEC=3600)


@pytest.fixture(name="operator")
def _operator(client: FlaskClient) -> Operator:
    return Operator(client)


@pytest.fixture(name="api")
def _api(client: FlaskClient) -> Api:
    return Api(client)


def value(page: str, name: str) -> str:
    """Return what the input *name* is filled with."""
    (found,) = re.findall(rf'<input id="{name}"[^>]*?value="([^"]*)"', page)
    return unescape(found)


CASES: list[tuple[dict[str, str], str, str]] = [
    ({}, "allowed", "200 OK"),
    ({"host": "b.test"}, "wrong_host", "403 forbidden for host"),
    ({"host": ""}, "wrong_host", "403 forbidden for host"),
    ({"method": "POST"}, "wrong_method", "403 forbidden for method"),
    ({"path": "/v2"}, "wrong_path", "403 forbidden for path"),
    ({"address": ""}, "wrong_network", "403 forbidden for network"),
]


@pytest.mark.parametrize("by", ["id", "token"])
def test_verdict(api: Api, operator: Operator, by: str) -> None:
    """The page tells the verdict of the API and the answer of /auth, and keeps what was typed."""
    made = api.make(**RESTRICTED)
    blank = {"id": "", "token": ""}
    for changed, verdict, answer in CASES:
        page = operator.post("/try_token", blank | {by: made[by]} | FITTING | changed)

        assert page.status_code == 200
        for shown in (f"<code>{verdict}<", f"<code>{answer}<", f'href="/tokens/{made["sha256"]}"'):
            assert shown in page.text
        assert [value(page.text, name) for name in FITTING] == [*(FITTING | changed).values()]
        assert made["token"] not in page.text


def test_nothing_is_spent(api: Api, operator: Operator) -> None:
    """However often a token is tried, its one request is left; what refuses next is told."""
    made = api.make()
    for _ in range(3):
        assert (
            "<code>allowed</code>" in operator.post("/try_token", {"id": made["id"], "host": "a.test"}).text
        )
    assert api.auth(made["token"]) == 200
    refused = operator.post("/try_token", {"id": made["id"], "host": "a.test"}).text

    assert "<code>rate_limited</code>" in refused
    assert re.search(r"The next request is allowed in \d+ \w+\.", refused)


def test_link_to_a_request(api: Api, operator: Operator) -> None:
    """A result by id has an address that fills in the form again; one by secret has none."""
    made = api.make()
    sent = {"host": "a.test", "path": "/x?a=1&b=2", "method": "", "address": ""}
    links = [
        re.findall(r'href="([^"]+)">Link to this request', operator.post("/try_token", sent | by).text)
        for by in ({"id": made["id"]}, {"token": made["token"]})
    ]

    assert links[1] == []
    form = operator.get(unescape(links[0][0])).text
    assert [value(form, name) for name in ("id", "host", "path")] == [made["id"], "a.test", "/x?a=1&b=2"]


ERRORS: list[tuple[dict[str, Any], int, str]] = [
    ({}, 400, "id"),
    ({"id": "0" * 16, "token": "x"}, 400, "id"),
    ({"id": "0" * 15}, 400, "id"),
    ({"id": "0" * 16}, 404, "id"),
    ({"id": ["0" * 16, "1" * 16]}, 400, "id"),
    ({"token": "x", "address": "10.0.0.0/8"}, 400, "address"),
]


def test_errors(operator: Operator) -> None:
    """An error is beside its field, and the rest of the form is kept."""
    for sent, status, field in ERRORS:
        page = operator.post("/try_token", {"host": "kept.test"} | sent)

        assert page.status_code == status
        assert f'id="{field}-problem"' in page.text
        assert value(page.text, "host") == "kept.test"


def test_unknown_field(operator: Operator) -> None:
    """A field that the form does not have is refused by name."""
    page = operator.post("/try_token", {"token": "x", "hosts": "a.test"})
    assert (page.status_code, "<code>hosts</code>: unknown field" in page.text) == (400, True)


def test_secrets_stay_secret(api: Api, operator: Operator, caplog: pytest.LogCaptureFixture) -> None:
    """A secret is repeated by no page, whichever field or parameter it was typed into, and by no log."""
    caplog.set_level(logging.DEBUG)
    secrets = [api.make()["token"], "acl_mistyped_secret", "an-older-secret-of-30-characters"]
    for secret in secrets:
        for sent in ({"token": secret}, {"id": secret}, {"token": secret, "id": secret}):
            assert secret not in operator.post("/try_token", sent | {"host": "b.test"}).text
        for name in ("id", "token", "secret"):
            page = operator.get("/try", query_string={name: secret})
            assert (page.status_code, secret in page.text) == (400, False)

    assert not [secret for secret in secrets if secret in caplog.text]


def test_form_of_a_secret(operator: Operator) -> None:
    """The secret has a password field without a value, which no browser completes."""
    assert re.search(
        r'<input id="token" name="token" type="password" autocomplete="off"(?![^>]*value=)',
        operator.get("/try").text,
    )


def test_no_decision(api: Api, operator: Operator, database: Any) -> None:
    """Where /auth can't decide, the page says why, with a 503, and keeps the form."""
    made = api.make()
    database.hset(f"tokens:{made['sha256']}", mapping={"rate_limit_max": "many", "hosts": "kept.test"})
    page = operator.post("/try_token", {"id": made["id"], "host": "kept.test"})

    assert (page.status_code, value(page.text, "host")) == (503, "kept.test")
    assert "Nothing was decided." in page.text
