"""Restrictions of a token over HTTP: what they refuse, and how they are written."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest
from flask.testing import FlaskClient

from app.core.networks import MAX_NETWORKS
from app.core.usage import COUNTERS
from app.web.filters import capital
from devkit.builders import PEPPER
from tests.web.conftest import OPERATOR, Operator

TOKEN = "from-an-older-deployment"
RECORD = f"tokens:{sha256((TOKEN + PEPPER).encode()).hexdigest()}"
CHALLENGE = 'Bearer realm="acl-auth-service", error="insufficient_scope"'
LISTS = {"methods": "GET,POST", "paths": "/v1/models,/v1/chat/*", "networks": "203.0.113.0/24,2001:db8::/32"}
USUAL = {
    "Authorization": f"Bearer {TOKEN}",
    "X-Forwarded-Host": "a.test",
    "X-Forwarded-Method": "GET",
    "X-Forwarded-Uri": "/v1/models?a=b",
    "X-Forwarded-For": "203.0.113.7",
}
UNSET = "set TRUSTED_PROXIES first; without it the token would be refused everywhere"


@pytest.fixture
def proxied(make_client: Callable[..., FlaskClient]) -> FlaskClient:
    """Return a client that is taken for a trusted proxy."""
    return make_client(TRUSTED_PROXIES="127.0.0.1")


@pytest.fixture
def record(database: Any) -> str:
    """Keep a token with all restrictions; return the name of its record."""
    database.hset(RECORD, mapping={"hosts": "a.test"} | LISTS)
    return RECORD


def ask(client: FlaskClient, **changes: str | None) -> tuple[int, str]:
    """Return status and text of the answer to a usual sub-request with other headers; None omits one."""
    headers = USUAL | {name.replace("_", "-"): value for name, value in changes.items()}
    answer = client.get(
        "/auth", headers={name: value for name, value in headers.items() if value is not None}
    )
    if answer.status_code == 403:
        assert answer.headers["WWW-Authenticate"] == CHALLENGE
    return answer.status_code, answer.text


@pytest.mark.usefixtures("record")
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"X_Forwarded_Method": "HEAD"},
        {"X_Forwarded_Method": "POST", "X_Forwarded_Uri": "/v1/chat/completions"},
        {"X_Forwarded_Uri": "/v1/chat/"},
        {"X_Forwarded_For": "198.51.100.1, 203.0.113.7"},
        {"X_Forwarded_For": "::ffff:203.0.113.7"},
        {"X_Forwarded_For": "2001:db8:1::1"},
    ],
)
def test_allowed(proxied: FlaskClient, changes: dict[str, str]) -> None:
    """A request within all lists is allowed."""
    assert ask(proxied, **changes) == (200, "OK")


@pytest.mark.usefixtures("record")
@pytest.mark.parametrize(
    ("changes", "text"),
    [
        *(
            ({"X_Forwarded_Method": sent}, "method")
            for sent in (None, "", "DELETE", "get", "GET, POST", "OPTIONS")
        ),
        *(
            ({"X_Forwarded_Uri": sent}, "path")
            for sent in (None, "", "*", "v1/models", "/v1/chat", "/v1/models/")
        ),
        *(
            ({"X_Forwarded_Uri": sent}, "path")
            for sent in ("/v1/chat/../models", "/v1/chat/%2e", "/v1/chat//x")
        ),
        *(
            ({"X_Forwarded_Uri": sent}, "path")
            for sent in ("/v1/chat/;x", "/v1/chat/\\", "/v1/chat/\xe9", "/V1/models")
        ),
        ({"X_Forwarded_Uri": "https://a.test/v1/models"}, "path"),
        *(
            ({"X_Forwarded_For": sent}, "network")
            for sent in (None, "", "unknown", "198.51.100.7", "203.0.113.7, x")
        ),
        ({"X_Forwarded_For": "203.0.113.7, 198.51.100.7"}, "network"),
        ({"X_Forwarded_Method": "PUT", "X_Forwarded_Uri": "/x", "X_Forwarded_For": None}, "method"),
        ({"X_Forwarded_Uri": "/x", "X_Forwarded_For": None}, "path"),
        ({"X_Forwarded_Host": "b.test", "X_Forwarded_Method": "PUT"}, "host"),
    ],
)
def test_refused(proxied: FlaskClient, database: Any, changes: dict[str, str | None], text: str) -> None:
    """The first list without the request refuses it: host, method, path, network; no permit is taken."""
    assert ask(proxied, **changes) == (403, f"forbidden for {text}")
    assert not database.exists(f"{{{RECORD}}}:window")
    assert f'acl_auth_decisions_total{{verdict="wrong_{text}"}}' in proxied.get("/metrics").text


@pytest.mark.usefixtures("record")
def test_peer_that_is_not_trusted(make_client: Callable[..., FlaskClient]) -> None:
    """Without a trusted proxy no address is known, whatever is reported and whoever asks."""
    for proxies in ("", "10.0.0.0/8"):
        assert ask(make_client(TRUSTED_PROXIES=proxies)) == (403, "forbidden for network")


def test_no_restrictions(client: FlaskClient, database: Any) -> None:
    """A token without these lists, or with empty ones, needs none of the headers."""
    nothing = dict.fromkeys(["X_Forwarded_Method", "X_Forwarded_Uri", "X_Forwarded_For"])
    for lists in ({}, dict.fromkeys(LISTS, "")):
        database.hset(RECORD, mapping={"hosts": "a.test"} | lists)
        assert ask(client, **nothing) == (200, "OK")


def api(client: FlaskClient, method: str, path: str, body: Any = None) -> Any:
    """Return the JSON in an answer of the API."""
    return client.open(f"/api/v1{path}", method=method, json=body, auth=OPERATOR).json


def test_round_trip(proxied: FlaskClient) -> None:
    """What is written over the API is shown, decides, and is counted."""
    lists = {"methods": ["get"], "paths": ["/v1/*"], "networks": ["203.0.113.0/24"]}
    made = api(proxied, "POST", "/tokens", {"hosts": ["a.test"]} | lists)
    token = {"Authorization": f"Bearer {made['token']}"}

    assert {name: made[name] for name in lists} == lists | {"methods": ["GET"]}
    statuses = [ask(proxied, **token | change)[0] for change in ({}, {"X_Forwarded_Method": "PUT"})]
    usage = api(proxied, "GET", f"/tokens/{made['id']}")["usage"]["last_24_hours"]
    assert statuses == [200, 403]
    assert (usage["allowed"], usage["wrong_host"]) == (1, 1)
    page = proxied.get(f"/tokens/{made['id']}", auth=OPERATOR).text
    assert f"{capital(COUNTERS['wrong_host'].label)}</th><td>1</td>" in page
    assert "<dt>Paths</dt>" in page


def test_networks_without_proxies(client: FlaskClient, database: Any) -> None:
    """Without TRUSTED_PROXIES a list of networks is refused when it is written, with the reason."""
    body = {"hosts": ["a.test"], "networks": ["203.0.113.0/24"]}
    assert api(client, "POST", "/tokens", body)["errors"] == {"networks": UNSET}
    made = api(client, "POST", "/tokens", {"hosts": ["a.test"], "networks": []})
    assert api(client, "PATCH", f"/tokens/{made['id']}", {"networks": "::/0"})["errors"] == {
        "networks": UNSET
    }
    command = ["tokens", "edit", made["id"], "--networks", "::/0"]
    assert UNSET in client.application.test_cli_runner().invoke(args=command).output
    page = Operator(client).post("/create_token", {"hosts": "a.test", "networks": "::/0"}).text
    assert "Set TRUSTED_PROXIES first" in page
    assert not any(database.hexists(name, "networks") for name in database.keys("tokens:*"))


@pytest.mark.usefixtures("record")
def test_edit_of_other_fields(client: FlaskClient, database: Any) -> None:
    """A token that has networks already keeps them, in an edit that repeats them and in one that does not."""
    digest = RECORD.removeprefix("tokens:")
    form = {"token": digest, "comment": "x", "networks": LISTS["networks"]}

    assert Operator(client).post("/edit_token", form).status_code == 303
    assert api(client, "PATCH", f"/tokens/{digest}", {"comment": "y"})["comment"] == "y"
    assert database.hget(RECORD, "networks") == LISTS["networks"]
    assert Operator(client).post("/edit_token", {"token": digest, "networks": ""}).status_code == 303
    assert not database.hexists(RECORD, "networks")


@pytest.mark.parametrize("field", LISTS)
@pytest.mark.parametrize("text", [",", " ", "  ,\t"])
def test_edit_of_a_list_without_items(proxied: FlaskClient, database: Any, field: str, text: str) -> None:
    """A list that matches nothing, as others may have written it, does not become one that allows all."""
    database.hset(RECORD, mapping={"hosts": "a.test", field: text})
    before = ask(proxied)
    api(proxied, "PATCH", f"/tokens/{RECORD.removeprefix('tokens:')}", {"comment": "x"})

    assert before == ask(proxied) == (403, f"forbidden for {field[:-1]}")


def test_description(client: FlaskClient, proxied: FlaskClient) -> None:
    """The description of the API takes networks only where they can be written."""
    described = [
        api(each, "GET", "/openapi.json")["components"]["schemas"]["NewToken"] for each in (client, proxied)
    ]

    sizes = [schema["properties"]["networks"]["anyOf"][0]["maxItems"] for schema in described]
    assert sizes == [0, MAX_NETWORKS]


def test_table(proxied: FlaskClient, database: Any) -> None:
    """The table shows the lists of a token under their names."""
    database.hset(RECORD, mapping={"hosts": "a.test"} | LISTS)
    page = Operator(proxied).get().text

    for item in ("GET", "/v1/chat/*", "2001:db8::/32"):
        assert f"<li>{item}</li>" in page
