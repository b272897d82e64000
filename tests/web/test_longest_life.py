"""MAX_TTL_SECONDS bounds the life of every token, in pages, API and commands."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from jsonschema_rs import Draft202012Validator

from app.core.moments import rfc3339
from app.web.openapi import describe
from tests.web.conftest import OPERATOR, Operator, written

DAY_S = 86_400
BOUND = 30 * DAY_S
OLD = "ab" * 32
PROBLEM = f"at most {BOUND} seconds from now on, which is MAX_TTL_SECONDS"


@pytest.fixture(name="client")
def _client(make_client: Callable[..., FlaskClient]) -> FlaskClient:
    return make_client(MAX_TTL_SECONDS=BOUND)


def in_days(days: int) -> str:
    """Return that moment."""
    return rfc3339(int(datetime.now(UTC).timestamp()) + days * DAY_S)


def api(client: FlaskClient, method: str, path: str, **body: Any) -> Any:
    """Return the body of an answer of the API."""
    return client.open(f"/api/v1{path}", method=method, json=body, auth=OPERATOR).json


BEYOND: list[dict[str, Any]] = [
    {"ttl_seconds": BOUND + 1},
    {"ttl_seconds": 0},
    {"expires_at": in_days(31)},
    {"expires_at": "2099-12-31"},
]


@pytest.mark.parametrize("sent", BEYOND)
def test_new_token_beyond_it(client: FlaskClient, database: Any, sent: dict[str, Any]) -> None:
    """A longer life is refused on every way, naming the field and the bound; nothing is written."""
    ((name, value),) = sent.items()
    page = client.post("/create_token", data={"hosts": "a.test"} | sent, auth=OPERATOR)
    option = f"--{name.replace('_', '-')}", f"{value}"
    command = client.application.test_cli_runner().invoke(args=["tokens", "create", "a.test", *option])

    assert api(client, "POST", "/tokens", hosts="a.test", **sent)["errors"] == {name: PROBLEM}
    assert (page.status_code, PROBLEM.capitalize()[:20] in page.text) == (400, True)
    assert f'id="{name}-problem"' in page.text
    assert (command.exit_code, f"{name}: {PROBLEM}" in command.output) == (1, True)
    assert written(database) == []


@pytest.mark.parametrize("sent", [{}, {"expires_at": None}, {"ttl_seconds": None}])
def test_new_token_without_a_life(client: FlaskClient, database: Any, sent: dict[str, Any]) -> None:
    """A token without a life of its own lives as long as the bound."""
    made = api(client, "POST", "/tokens", hosts="a.test", **sent)

    assert BOUND - 5 <= database.ttl(f"tokens:{made['sha256']}") <= BOUND


@pytest.mark.parametrize("sent", [*BEYOND, {"expires_at": None}])
def test_edit_beyond_it(client: FlaskClient, database: Any, sent: dict[str, Any]) -> None:
    """An edit can't extend a life beyond it, and names what was sent."""
    made = api(client, "POST", "/tokens", hosts="a.test", ttl_seconds=60)

    assert api(client, "PATCH", f"/tokens/{made['id']}", **sent)["errors"] == {next(iter(sent)): PROBLEM}
    assert database.ttl(f"tokens:{made['sha256']}") <= 60


def test_token_of_earlier(client: FlaskClient, database: Any) -> None:
    """A token that never ends keeps that in an edit of something else, and may get an end."""
    database.hset(f"tokens:{OLD}", "hosts", "a.test")

    assert api(client, "PATCH", f"/tokens/{OLD}", comment="x", expires_at=None)["expires_at"] is None
    assert "errors" in api(client, "PATCH", f"/tokens/{OLD}", expires_at=in_days(31))
    assert api(client, "PATCH", f"/tokens/{OLD}", ttl_seconds=BOUND)["expires_at"]


def test_hints(client: FlaskClient, database: Any) -> None:
    """The form names the bound and offers no life beyond it, and none without end."""
    database.hset(f"tokens:{OLD}", "hosts", "a.test")
    new, edit = (Operator(client).get(path).text for path in ("/new", f"/tokens/{OLD}/edit"))

    for page, blank in ((new, "30 days, the default"), (edit, "leave unchanged")):
        lives = re.findall(r'<option[^>]* value="(\d*)"[^>]*>([^<]*)', page[: page.index('id="expires_at"')])
        assert "at most 30 days" in page
        assert lives == [("", blank), (f"{7 * DAY_S}", "7 days"), (f"{30 * DAY_S}", "30 days")]


def test_description(client: FlaskClient) -> None:
    """The description of the API has the bound."""
    schemas = client.get("/api/v1/openapi.json", auth=OPERATOR).get_json()["components"]["schemas"]
    for name in ("NewToken", "Change"):
        schema = Draft202012Validator(schemas[name])
        usual = {"hosts": ["a.test"]}
        assert not any(schema.is_valid(usual | sent) for sent in BEYOND)
        assert schema.is_valid(usual | {"ttl_seconds": BOUND})
        assert schema.is_valid(usual | {"expires_at": in_days(20)})


def test_described_end_of_null(client: FlaskClient) -> None:
    """No change to a life without end is described, but a new token may leave its end to the default."""
    schemas = client.get("/api/v1/openapi.json", auth=OPERATOR).get_json()["components"]["schemas"]
    new, change = (
        schemas[name]["properties"]["expires_at"]["description"] for name in ("NewToken", "Change")
    )

    assert Draft202012Validator(schemas["NewToken"]).is_valid({"hosts": "a.test", "expires_at": None})
    assert not Draft202012Validator(schemas["Change"]).is_valid({"expires_at": None})
    assert ("null is the default" in new, "null" in change, "never" in new + change) == (True, False, False)


def test_described_end_of_null_without_a_bound() -> None:
    """Without a bound, a change to null is never, and described as right."""
    end = describe(date(2026, 1, 1))["components"]["schemas"]["Change"]["properties"]["expires_at"]

    assert "null in a change is never" in end["description"]
    assert Draft202012Validator(end).is_valid(None)


@pytest.mark.parametrize(
    "today", [date(2026, 1, 1), date(2027, 12, 30), date(2028, 2, 27), date(2029, 6, 15)]
)
@pytest.mark.parametrize("days", [5, 30, 366, 1500])
def test_described_days(today: date, days: int) -> None:
    """Every day that is surely within the bound is described, and none after it."""
    schemas = describe(today, days * DAY_S)["components"]["schemas"]
    pattern = re.compile(schemas["NewToken"]["properties"]["expires_at"]["pattern"])
    described = [n for n in range(-5, days + 800) if pattern.search(f"{today + timedelta(days=n)}")]

    assert described == [*range(2, days - 1)]


def test_described_hours() -> None:
    """A bound of hours leaves no whole day, so that any moment is described."""
    schemas = describe(date(2026, 1, 1), 3600)["components"]["schemas"]

    assert re.search(schemas["NewToken"]["properties"]["expires_at"]["pattern"], "2026-01-01T00:30:00Z")
