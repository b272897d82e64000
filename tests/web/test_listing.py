"""The parameters of GET /api/v1/tokens; every answer is validated against the description."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from app.core.listing import ORDERS
from app.web.openapi import DESCRIPTION
from tests.web.test_admin import record_of
from tests.web.test_api import Api


@pytest.fixture(name="api")
def _api(client: FlaskClient) -> Api:
    return Api(client)


def comments(api: Api, query: str) -> str:
    """Return the comments of all tokens in a list, read page by page."""
    found: list[str] = []
    cursor: Any = ""
    while cursor is not None:
        answer = api("GET", f"/tokens?limit=2&{query}&cursor={cursor}")
        assert answer.status == 200, answer.text
        found += [token["comment"] for token in answer.json["tokens"]]
        cursor = answer.json["next_cursor"]
    return " ".join(found)


@pytest.fixture(name="made")
def _made(api: Api, database: Any) -> dict[str, Any]:
    """Create five tokens, one by one a second apart; c was used last, a before it."""
    fields: dict[str, dict[str, Any]] = {
        "a": {"ttl_seconds": 900, "email": "Ops@a.test"},
        "b": {"hosts": ["*.b.test"], "ttl_seconds": 700},
        "c": {"ttl_seconds": 8_000_000, "email": "dev@a.test"},
        "d": {"hosts": ["x.b.test"]},
        "e": {"not_before": "2999-01-01"},
    }
    made = {name: api.make(comment=name, **more) for name, more in fields.items()}
    for name, used_at in (("a", 1_900_000_000), ("c", 1_900_000_060)):
        database.hset(record_of(made[name]["token"]), "last_used_at", used_at)
    api("PATCH", f"/tokens/{made['d']['id']}", {"enabled": False})
    return made


@pytest.mark.usefixtures("made")
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", "e d c b a"),
        ("sort=", "e d c b a"),
        ("sort=created_at", "a b c d e"),
        ("sort=-created_at", "e d c b a"),
        ("sort=expires_at", "b a c d e"),
        ("sort=-expires_at", "e d c a b"),
        ("sort=last_used_at", "b d e a c"),
        ("sort=-last_used_at", "c a e d b"),
        ("status=active", "c"),
        ("status=expiring", "b a"),
        ("status=disabled", "d"),
        ("status=not_yet_valid", "e"),
        ("status=unreadable", ""),
        ("host=x.b.test", "d b"),
        ("host=*.B.test", "b"),
        ("email=ops%40A", "a"),
        ("email=a.test", "c a"),
        ("comment=E", "e"),
        ("q=DEV", "c"),
        ("q=e", "e c"),
        ("q=x.b.test", "d b"),
        ("q=nothing%20at%20all", ""),
        ("q=a.test&sort=expires_at&status=expiring", "a"),
        ("q=%40a.test&sort=-last_used_at", "c a"),
        ("host=x.b.test&status=disabled&comment=d&email=&sort=expires_at", "d"),
        ("host=x.b.test&email=ops", ""),
        ("email=%00&comment=%F0%9F%98%80", ""),
    ],
)
def test_lists(api: Api, query: str, expected: str) -> None:
    """Filters combine, and sort puts tokens without an expiry or a use where the documents say."""
    assert comments(api, query) == expected


@pytest.mark.parametrize(
    ("query", "status", "field"),
    [
        ("status=bogus", 400, "status"),
        ("sort=name", 400, "sort"),
        ("sort=+created_at", 400, "sort"),
        ("host=a%20b", 400, "host"),
        ("host=acl_secret", 400, "host"),
        ("email=acl_secret", 400, "email"),
        ("comment=xxacl_%20acl_secret", 400, "comment"),
        (f"email={'x' * 255}", 400, "email"),
        (f"comment={'x' * 501}", 400, "comment"),
        (f"host={'x' * 254}", 400, "host"),
        (f"q={'x' * 254}", 400, "q"),
        ("status=ended&host=a.test", 409, "host"),
        ("status=ended&sort=created_at", 409, "sort"),
        ("status=ended&email=x&comment=y", 409, "email"),
        (f"sort=expires_at&cursor={'0' * 16}", 409, "cursor"),
        (f"sort=expires_at&cursor={'0' * 80}", 409, "cursor"),
        (f"cursor={'0' * 80}-{'0' * 8}", 409, "cursor"),
        (f"sort=expires_at&cursor={'0' * 80}-{'0' * 8}-nan", 400, "cursor"),
    ],
)
def test_refused(api: Api, query: str, status: int, field: str) -> None:
    """What can't be listed is a problem that names the parameter and repeats no secret."""
    answer = api("GET", f"/tokens?{query}")

    assert (answer.status, answer.kind) == (status, "application/problem+json")
    assert field in answer.json["errors"]
    assert "acl_" not in answer.text


@pytest.mark.usefixtures("made")
def test_cursors(api: Api) -> None:
    """A cursor continues its own list, whatever the limit, and no other one."""
    queries = ["", "q=a.test", "status=expiring", "email=a.test", *(f"sort={order}" for order in ORDERS[1:])]
    first = {query: api("GET", f"/tokens?limit=1&{query}").json for query in queries}
    for query, page in first.items():
        for other in queries:
            answer = api("GET", f"/tokens?limit=500&{other}&cursor={page['next_cursor']}")
            assert answer.status == (200 if query == other else 409)
            assert query == other or "cursor" in answer.json["errors"]


@pytest.mark.usefixtures("made")
@pytest.mark.parametrize("order", ORDERS)
def test_cursor_with_another_score(api: Api, order: str) -> None:
    """A cursor that somebody changed is refused, or begins somewhere else."""
    cursor = api("GET", f"/tokens?limit=1&sort={order}").json["next_cursor"]
    for score in ("", "-1", "-never", "-census", "--inf", "-1e308", "-1e999", "-inf", "-1.5", "--1e-300"):
        answer = api("GET", f"/tokens?sort={order}&cursor={cursor[:89]}{score}")
        assert answer.status == (200 if ("created" in order) is (score == "") else 400)


def test_described_orders() -> None:
    """The description has every order, and each status of a token in its schema."""
    parameters = {
        each["name"]: each["schema"] for each in DESCRIPTION["paths"]["/tokens"]["get"]["parameters"]
    }

    assert parameters["sort"]["enum"] == ["", *ORDERS]
    described = DESCRIPTION["components"]["schemas"]["Token"]["properties"]["status"]["enum"]
    assert parameters["status"]["enum"] == ["", *described, "ended"]
