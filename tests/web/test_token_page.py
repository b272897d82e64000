"""The page of one token."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.web.conftest import OPERATOR, Operator
from tests.web.test_admin import NEW_TOKEN, create, record_of


@pytest.fixture
def secret(operator: Operator) -> str:
    """Create a token for example.com; return its secret."""
    return create(operator, email="a@b.example", comment="for <b>", rate_limit_max="7")


@pytest.fixture
def token_id(secret: str, database: Any) -> str:
    """Return the token's id."""
    return str(database.hget(record_of(secret), "id"))


def words(operator: Operator, name: str) -> str:
    """Return the page of a token with single spaces."""
    return re.sub(r"[ \n]+", " ", operator.get(f"/tokens/{name}").text)


def test_page(operator: Operator, token_id: str, secret: str) -> None:
    """The page shows the stored fields, and not the secret."""
    page = operator.get(f"/tokens/{token_id}").text

    for value in ("example.com", "a@b.example", "for &lt;b&gt;", "7 requests per second"):
        assert value in page
    assert secret not in page
    assert "style=" not in page


def test_page_of_an_unknown_token(operator: Operator) -> None:
    """The page of an unknown token is a 404."""
    assert operator.get("/tokens/1m85v745vvbyf6sq").status_code == 404


def test_page_after_use(operator: Operator, token_id: str, secret: str) -> None:
    """The page counts allowed and refused requests."""
    for host in ("example.com", "example.com", "other.com"):
        headers = {"Authorization": f"Bearer {secret}", "X-Forwarded-Host": host}
        operator._client.get("/auth", headers=headers)

    page = " ".join(operator.get(f"/tokens/{token_id}").text.split())
    assert "2 allowed" in page
    assert '<th scope="row">Outside its restrictions</th><td>1</td><td>1</td>' in page


def test_page_with_a_quota(operator: Operator, database: Any) -> None:
    """Page, API and command show what is used of a quota, what is left and when it resets."""
    text = create(operator, quota_max="1000", quota_period="month")
    name = database.hget(record_of(text), "id")
    assert "0 used this month, <strong>1\xa0000 left</strong>" in words(operator, name)
    database.hset(record_of(text), "quota_used", "0 99999999999 7")

    assert "7 used this month, <strong>993 left</strong>; resets in" in words(operator, name)
    shown = operator._client.get(f"/api/v1/tokens/{name}", auth=OPERATOR).json
    assert shown
    ends = {"resets_at": "5138-11-16T09:46:39Z"}
    assert shown["quota"] == {"max": 1000, "period": "month", "used": 7, "remaining": 993} | ends
    show = operator._client.application.test_cli_runner().invoke
    assert json.loads(show(args=["tokens", "show", "--json", name]).stdout) == shown
    assert "1000 requests per month: 7 used, 993 left" in show(args=["tokens", "show", name]).stdout


def test_new_token_with_a_quota(operator: Operator) -> None:
    """The page of a new token shows its quota, and like its own page its restrictions."""
    fields = {"hosts": "a.test", "methods": "GET", "paths": "/v1/*", "quota_max": "5", "quota_period": "day"}
    issued = operator.post("/create_token", fields).text
    (name,) = re.findall('class="id">([^<]+)<', issued)

    assert "5 requests per day" in issued
    for page in (issued, operator.get(f"/tokens/{name}").text):
        assert all(f"<code>{value}</code>" in page for value in ("GET", "/v1/*"))


def test_page_without_a_quota(operator: Operator, token_id: str) -> None:
    """A token without a quota shows none."""
    assert '<h3 id="quota">Quota</h3> <p>None.</p>' in words(operator, token_id)
    shown = operator._client.get(f"/api/v1/tokens/{token_id}", auth=OPERATOR).json
    assert shown
    assert shown["quota"] is None


def test_half_of_a_quota(operator: Operator) -> None:
    """A form with one half of a quota is shown again, with the other half named beside the input."""
    page = operator.post("/create_token", {"hosts": "example.com", "quota_max": "5"})

    assert page.status_code == 400
    assert '<a href="#quota_period">Quota per</a>: needed with quota_max; set both or neither' in page.text
    assert 'id="quota_period-problem"' in page.text


@pytest.mark.parametrize("typed", ["", "0"])
def test_form_without_a_quota(operator: Operator, database: Any, typed: str) -> None:
    """Clearing the number is enough: the period, which the form sends too, goes with it."""
    none = {"hosts": "example.com", "quota_max": typed, "quota_period": "day"}
    text = create(operator, quota_max="5", quota_period="day")
    token = database.hget(record_of(text), "id")

    assert operator.post("/edit_token", {"token": token} | none).status_code == 303
    for record in (record_of(text), record_of(create(operator, **none))):
        assert database.hmget(record, "quota_max", "quota_period") == [typed or None, None]


def test_edit(operator: Operator, database: Any, token_id: str, secret: str) -> None:
    """An edit changes only the fields that were sent, and the page confirms it."""
    answer = operator.post("/edit_token", {"token": token_id, "comment": "", "ttl_seconds": "60"})

    assert (answer.status_code, answer.headers["Location"]) == (
        303,
        f"/tokens/{token_id}?done=edited&disk=no_file",
    )
    kept = database.hgetall(record_of(secret))
    assert (kept["hosts"], kept["email"], kept.get("comment")) == ("example.com", "a@b.example", None)
    assert 58 <= database.ttl(record_of(secret)) <= 60
    assert "The changes are in effect" in operator.get(answer.headers["Location"]).text


@pytest.mark.parametrize(
    "fields",
    [
        {"hosts": ""},
        {"hosts": "a b/c"},
        {"ttl_seconds": "-5"},
        {"expires_at": "2020-01-01"},
        {"not_before": "soon"},
        {"rate_limit_max": "10001"},
        {"rate_limit_window_sec": "0"},
        {"ttl": "5"},
        {"comment": ["a", "b"]},
    ],
)
def test_invalid_edit(
    operator: Operator, database: Any, token_id: str, secret: str, fields: dict[str, Any]
) -> None:
    """An invalid edit changes nothing and is shown again with its values."""
    before = database.hgetall(record_of(secret))
    answer = operator.post("/edit_token", {"token": token_id, "email": "kept@b.example"} | fields)

    assert answer.status_code == 400
    assert "kept@b.example" in answer.text
    assert database.hgetall(record_of(secret)) == before


def test_disable_and_enable(operator: Operator, database: Any, token_id: str, secret: str) -> None:
    """A token can be disabled and enabled, and its page shows the status."""
    operator.post("/disable_token", {"token": token_id})
    assert database.hget(record_of(secret), "enabled") == "0"
    assert "Disabled" in operator.get(f"/tokens/{token_id}").text

    operator.post("/enable_token", {"token": token_id})
    assert database.hget(record_of(secret), "enabled") is None


def test_rotate(operator: Operator, database: Any, token_id: str, secret: str) -> None:
    """A rotation shows the new secret once; the old one remains valid for the grace period."""
    answer = operator.post("/rotate_token", {"token": token_id, "grace_seconds": "60"})
    found = NEW_TOKEN.search(answer.text)

    assert found
    assert database.hget(record_of(found[1]), "id") == token_id
    assert 58 <= database.ttl(record_of(secret)) <= 60
    assert re.search("stays valid for 1 minute", answer.text)


@pytest.mark.parametrize("grace", ["-1", "604801", "x"])
def test_invalid_grace_period(
    operator: Operator, database: Any, token_id: str, secret: str, grace: str
) -> None:
    """A grace period out of range is refused, and the token is not rotated."""
    answer = operator.post("/rotate_token", {"token": token_id, "grace_seconds": grace})

    assert answer.status_code == 400
    assert "grace_seconds" in answer.text
    assert database.hget(record_of(secret), "id") == token_id


def test_rotate_a_disabled_token(operator: Operator, token_id: str) -> None:
    """A disabled token can't be rotated."""
    operator.post("/disable_token", {"token": token_id})

    assert operator.post("/rotate_token", {"token": token_id}).status_code == 409


@pytest.mark.parametrize("verb", ["edit", "disable", "enable", "rotate", "delete"])
def test_changes_without_a_token(operator: Operator, verb: str) -> None:
    """A change without a token is a 400, and one of an unknown token a 404."""
    assert operator.post(f"/{verb}_token", {}).status_code == 400
    assert operator.post(f"/{verb}_token", {"token": "1m85v745vvbyf6sq"}).status_code == 404


def test_old_peppers(operator: Operator, make_client: Any, token_id: str, secret: str) -> None:
    """During a pepper's replacement, the table counts the tokens that still use the old one."""
    after = Operator(make_client(PEPPER="another pepper", PEPPER_PREVIOUS="a pepper for tests"))
    assert "1 token has not been used" in " ".join(after.get().text.split())

    headers = {"Authorization": f"Bearer {secret}", "X-Forwarded-Host": "example.com"}
    assert after._client.get("/auth", headers=headers).status_code == 200
    assert "has not been used" not in after.get().text
    assert token_id in after.get().text
    assert token_id in operator.get().text


def test_wrong_pepper(make_client: Any, token_id: str) -> None:
    """With an unknown pepper, /auth and /healthz respond with a 503."""
    wrong = make_client(PEPPER="a wrong pepper")
    answer = wrong.get(
        "/auth", headers={"Authorization": "Bearer some-token", "X-Forwarded-Host": "example.com"}
    )

    assert token_id
    assert answer.status_code == 503
    assert wrong.get("/healthz").status_code == 503


def test_status_in_words(operator: Operator) -> None:
    """A page shows the status in words for which the API has one identifier."""
    fields = {"hosts": ["a.test"], "not_before": "2999-01-01T00:00:00Z"}
    token = operator.post("/api/v1/tokens", json=fields).get_json()
    expected = re.compile('<span class="status not_yet_valid"[^>]*>Not yet valid</span>')

    assert token["status"] == "not_yet_valid"
    assert expected.search(operator.get().text)
    assert expected.search(operator.get(f"/tokens/{token['id']}").text)
