"""What an operator does with one token."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.web.conftest import Operator
from tests.web.test_admin import NEW_TOKEN, create, record_of


@pytest.fixture
def text(operator: Operator) -> str:
    """Make a token for example.com; return its secret."""
    return create(operator, email="a@b.example", comment="for <b>", rate_limit_max="7")


@pytest.fixture
def name(text: str, database: Any) -> str:
    """Return the id of that token."""
    return str(database.hget(record_of(text), "id"))


def test_page(operator: Operator, name: str, text: str) -> None:
    """The page of a token shows what is kept, ready to be changed, and not its secret."""
    page = operator.get(f"/tokens/{name}").text

    for value in ("example.com", "a@b.example", "for &lt;b&gt;", 'value="7"'):
        assert value in page
    assert text not in page
    assert "style=" not in page


def test_page_of_nothing(operator: Operator) -> None:
    """A token that is not there has no page."""
    assert operator.get("/tokens/1m85v745vvbyf6sq").status_code == 404


def test_page_after_use(operator: Operator, name: str, text: str) -> None:
    """The page counts what was allowed and what was refused."""
    for host in ("example.com", "example.com", "other.com"):
        headers = {"Authorization": f"Bearer {text}", "X-Forwarded-Host": host}
        operator._client.get("/auth", headers=headers)

    page = " ".join(operator.get(f"/tokens/{name}").text.split())
    assert "Last 24 hours: 2 allowed, 1 refused (1 outside its restrictions" in page


def test_edit(operator: Operator, database: Any, name: str, text: str) -> None:
    """An edit changes what is sent and leaves the rest, and the page says so."""
    answer = operator.post("/edit_token", {"token": name, "comment": "", "ttl_seconds": "60"})

    assert (answer.status_code, answer.headers["Location"]) == (
        303,
        f"/tokens/{name}?done=edited&disk=no_file",
    )
    kept = database.hgetall(record_of(text))
    assert (kept["hosts"], kept["email"], kept.get("comment")) == ("example.com", "a@b.example", None)
    assert 58 <= database.ttl(record_of(text)) <= 60
    assert "The changes hold" in operator.get(answer.headers["Location"]).text


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
def test_faulty_edit(operator: Operator, database: Any, name: str, text: str, fields: dict[str, Any]) -> None:
    """An edit with a fault changes nothing and comes back as it was typed."""
    before = database.hgetall(record_of(text))
    answer = operator.post("/edit_token", {"token": name, "email": "kept@b.example"} | fields)

    assert answer.status_code == 400
    assert "kept@b.example" in answer.text
    assert database.hgetall(record_of(text)) == before


def test_disable_and_enable(operator: Operator, database: Any, name: str, text: str) -> None:
    """A token is switched off and on, and its page says how it stands."""
    operator.post("/disable_token", {"token": name})
    assert database.hget(record_of(text), "enabled") == "0"
    assert "Disabled" in operator.get(f"/tokens/{name}").text

    operator.post("/enable_token", {"token": name})
    assert database.hget(record_of(text), "enabled") is None


def test_rotate(operator: Operator, database: Any, name: str, text: str) -> None:
    """A rotation shows the new secret this one time; the old one leads to it for the grace period."""
    answer = operator.post("/rotate_token", {"token": name, "grace_seconds": "60"})
    found = NEW_TOKEN.search(answer.text)

    assert found
    assert database.hget(record_of(found[1]), "id") == name
    assert 58 <= database.ttl(record_of(text)) <= 60
    assert re.search("stays valid for 1 minute", answer.text)


@pytest.mark.parametrize("grace", ["-1", "604801", "x"])
def test_rotate_with_a_fault(operator: Operator, database: Any, name: str, text: str, grace: str) -> None:
    """A grace period out of range rotates nothing."""
    answer = operator.post("/rotate_token", {"token": name, "grace_seconds": grace})

    assert answer.status_code == 400
    assert "grace_seconds" in answer.text
    assert database.hget(record_of(text), "id") == name


def test_rotate_a_disabled_token(operator: Operator, name: str) -> None:
    """A disabled token is not rotated."""
    operator.post("/disable_token", {"token": name})

    assert operator.post("/rotate_token", {"token": name}).status_code == 409


@pytest.mark.parametrize("verb", ["edit", "disable", "enable", "rotate", "delete"])
def test_verbs_on_nothing(operator: Operator, verb: str) -> None:
    """A verb without a token is a mistake, on an unknown one finds nothing."""
    assert operator.post(f"/{verb}_token", {}).status_code == 400
    assert operator.post(f"/{verb}_token", {"token": "1m85v745vvbyf6sq"}).status_code == 404


def test_old_peppers(operator: Operator, make_client: Any, name: str, text: str) -> None:
    """While a pepper is being replaced, the table says how many tokens have not met the new one."""
    after = Operator(make_client(PEPPER="another pepper", PEPPER_PREVIOUS="a pepper for tests"))
    assert "1 token has not been used" in " ".join(after.get().text.split())

    headers = {"Authorization": f"Bearer {text}", "X-Forwarded-Host": "example.com"}
    assert after._client.get("/auth", headers=headers).status_code == 200
    assert "has not been used" not in after.get().text
    assert name in after.get().text
    assert name in operator.get().text


def test_wrong_pepper(make_client: Any, name: str) -> None:
    """With a pepper that nobody has seen nothing is decided, and /healthz is ill."""
    wrong = make_client(PEPPER="a wrong pepper")
    answer = wrong.get(
        "/auth", headers={"Authorization": "Bearer some-token", "X-Forwarded-Host": "example.com"}
    )

    assert name
    assert answer.status_code == 503
    assert wrong.get("/healthz").status_code == 503


def test_status_in_words(operator: Operator) -> None:
    """A page says in plain words what the API says in one."""
    fields = {"hosts": ["a.test"], "not_before": "2999-01-01T00:00:00Z"}
    token = operator.post("/api/v1/tokens", json=fields).get_json()
    expected = '<span class="status not_yet_valid">Not yet valid</span>'

    assert token["status"] == "not_yet_valid"
    assert expected in operator.get().text
    assert expected in operator.get(f"/tokens/{token['id']}").text
