"""The forms that create and edit a token: templates, summary, the life in days, and the edit page."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import unescape
from typing import Any

import pytest
from flask.testing import FlaskClient

from app.core.fields import FIELDS, ROWS
from app.web.console.templates import TEMPLATES, filled
from tests.web.conftest import Operator
from tests.web.test_admin import NEW_TOKEN, create, record_of
from tests.web.test_every_field import shown

DAY_S = 86_400
SECTION = re.compile(r'<p class="opens"[^>]*>([^<]*)')


def form_of(page: str) -> dict[str, str]:
    """Return the fields of the form on *page* as a browser would send them."""
    return {name: shown(page, name) for name in FIELDS}


def opens(page: str) -> str:
    """Return the sentence that says what the token opens."""
    return unescape(SECTION.findall(page)[0])


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("bound", [0, 30 * DAY_S])
def test_template(make_client: Callable[..., FlaskClient], database: Any, name: str, bound: int) -> None:
    """The form that a template fills creates a token with these fields, once it has a host."""
    operator = Operator(make_client(MAX_TTL_SECONDS=bound))
    page = operator.get(f"/new?template={name}").text
    secret = create(operator, **form_of(page) | {"hosts": "a.test"})
    kept = database.hgetall(record_of(secret))
    kept["ttl_seconds"] = f"{database.expiretime(record_of(secret)) - int(kept['created_at'])}"

    for field, text in filled(TEMPLATES[name], bound).items():
        assert kept[field].replace(",", "\n") == text
    assert re.findall('name="template" value="([^"]*)"( aria-current="true")?', page) == [
        *((each, ' aria-current="true"' if each == name else "") for each in TEMPLATES),
        ("", ""),
    ]


@pytest.mark.parametrize("name", ["", *TEMPLATES])
@pytest.mark.parametrize("before", ["", "prometheus", "ci"])
def test_template_keeps_what_was_typed(operator: Operator, before: str, name: str) -> None:
    """A template replaces what the one before it filled in, and says which rows it leaves as typed."""
    typed = {"hosts": "a/b", "comment": "Ann", "expires_at": "soon", "rate_limit_max": "7"}
    form = form_of(operator.get(f"/new?template={before}").text)
    answer = operator.post("/new", form | typed | {"filled_by": before, "template": name, "form": "x"})
    theirs = dict(TEMPLATES[name].fields) if name else {}
    beside = {each: form[each] for each in ("ttl_seconds", "rate_limit_window_sec")}
    left = re.findall("Left as you typed it: ([^<]*)[.]<", answer.text)

    assert form_of(answer.text) == dict.fromkeys(FIELDS, "") | theirs | typed | beside
    assert {FIELDS[each].label for each in typed if each in theirs} <= {*", ".join(left).split(", ")}
    assert ("Expires at" in "".join(left)) == (name == "ci")


def test_template_after_problems(operator: Operator) -> None:
    """A form that comes back with problems still knows which template filled it."""
    again = operator.post("/create_token", {"hosts": "a/b", "comment": "CI", "filled_by": "ci"}).text
    other = operator.post("/new", {"hosts": "a/b", "comment": "CI", "filled_by": "ci", "template": "openai"})

    assert 'name="filled_by" value="ci"' in again
    assert shown(other.text, "comment") == "OpenAI-compatible client"


def test_rows_of_the_form(client: FlaskClient) -> None:
    """The form shows each row of two fields in its own way."""
    rows = client.application.jinja_env.get_template("_fields.html").module.rows  # type: ignore[attr-defined]

    assert rows.keys() == ROWS.keys()


def test_templates() -> None:
    """The names are those that links from elsewhere have."""
    assert [*TEMPLATES] == ["ollama", "openai", "read-only", "prometheus", "ci"]


@pytest.mark.parametrize(
    "query", ["template=nope", "template=<b>", "template=%00", "template=ci&template=x", "x=1"]
)
def test_any_address(operator: Operator, query: str) -> None:
    """Any other address shows the form too; an unknown template is told, and not repeated."""
    answer = operator.get(f"/new?{query}")

    assert (answer.status_code, "nope" in answer.text, "<b>" in answer.text) == (200, False, False)
    assert ("There is no template of that name" in answer.text) == ("ci" not in query and "x=1" not in query)


def test_summary_on_each_form(operator: Operator, database: Any) -> None:
    """The sentence is on the form of a template, on one with problems and on the page that edits a token."""
    template = opens(operator.get("/new?template=prometheus").text)
    again = operator.post("/create_token", {"hosts": "b.test", "methods": "GET", "email": "x"})
    name = database.hget(record_of(create(operator, hosts="a.test", expires_at="2099-01-31")), "id")
    edit = operator.get(f"/tokens/{name}/edit").text
    wrong = operator.post("/edit_token", {"token": name, "hosts": "c.test", "comment": "x" * 501})

    assert template == "Opens nothing until it names a host."
    assert (again.status_code, opens(again.text)[:22]) == (400, "Opens b.test for GET, ")
    assert opens(edit) == "Opens a.test, at most 100 requests per second, until 2099-01-31 00:00 UTC."
    assert (wrong.status_code, opens(wrong.text)) == (400, opens(edit).replace("a.test", "c.test"))


@pytest.mark.parametrize("typed", ["600", "soon", "0", "604800", " 7 ", "9" * 5000, "٣"])
def test_life_is_kept(operator: Operator, typed: str) -> None:
    """A life that is no choice of the form comes back as it was sent, as one more choice."""
    page = operator.post("/create_token", {"hosts": "a/b", "ttl_seconds": typed})

    assert (page.status_code, shown(page.text, "ttl_seconds")) == (400, typed)


def test_contradiction(operator: Operator) -> None:
    """A life and a date together are refused beside the date, and both are kept."""
    both = {"hosts": "a.test", "ttl_seconds": "604800", "expires_at": "2099-01-31"}
    page = operator.post("/create_token", both)

    assert (page.status_code, form_of(page.text)) == (400, dict.fromkeys(FIELDS, "") | both)
    assert 'id="expires_at-problem"' in page.text


@pytest.mark.parametrize(("default", "blank"), [(0, "never, the default"), (DAY_S, "1 day, the default")])
def test_default_life(make_client: Callable[..., FlaskClient], default: int, blank: str) -> None:
    """The first choice is the default, in words, and what a life without end means is said."""
    page = Operator(make_client(TOKEN_TTL_SECONDS=default)).get("/new").text

    assert re.findall(r'<option([^>]*) value="">([^<]*)</option>', page)[0] == (
        "" if default else ' class="endless"',
        blank,
    )
    assert '<option class="endless" value="0"' in page
    assert "a lost secret opens these hosts" in page


def test_untouched_edit(operator: Operator, database: Any) -> None:
    """Saving an edit page as it is changes nothing, not even the end."""
    fields = {
        "hosts": "a.test",
        "paths": "/v1/*",
        "quota_max": "5",
        "quota_period": "day",
        "expires_at": "2099-01-31",
    }
    record = record_of(create(operator, **fields))
    before = database.hgetall(record), database.expiretime(record)
    page = operator.get(f"/tokens/{before[0]['id']}/edit").text
    answer = operator.post("/edit_token", {"token": before[0]["id"]} | form_of(page))

    assert (answer.status_code, answer.headers["Location"][:24]) == (303, f"/tokens/{before[0]['id']}"[:24])
    assert (database.hgetall(record), database.expiretime(record)) == before


def test_faulty_edit(operator: Operator, database: Any) -> None:
    """A problem is shown on the edit page, with what was typed and the rest as it is stored."""
    record = record_of(create(operator, comment="stored", email="a@b.example"))
    form = {"token": database.hget(record, "id"), "hosts": "a/b", "email": "typed@b.example"}
    page = operator.post("/edit_token", form)

    assert (page.status_code, "<h1>Edit" in page.text) == (400, True)
    assert {name: form_of(page.text)[name] for name in ("hosts", "comment", "email")} == {
        "hosts": "a/b",
        "comment": "stored",
        "email": "typed@b.example",
    }


@pytest.mark.parametrize(
    ("stored", "told"),
    [({"managed": "ci"}, "managed by a tokens file as `ci`; change it there"), (None, "only be deleted")],
)
def test_no_edit_page(operator: Operator, database: Any, stored: dict[str, str] | None, told: str) -> None:
    """A token that can't be edited has no edit page, and the answer says why and what to do."""
    record = record_of(create(operator))
    digest = record.removeprefix("tokens:")
    if stored:
        database.hset(record, mapping=stored)
    else:
        database.delete(record)
        database.set(record, "no hash")
    page = operator.get(f"/tokens/{digest}/edit")

    assert (page.status_code, told in page.text, "<form" in page.text) == (409, True, False)


def test_edit_page_of_a_faulty_record(operator: Operator, database: Any) -> None:
    """A record with an invalid field can be saved again on its edit page, which calls it unreadable."""
    digest = record_of(create(operator)).removeprefix("tokens:")
    database.hset(f"tokens:{digest}", mapping={"rate_limit_max": "many", "not_before": "9" * 12})
    page = operator.get(f"/tokens/{digest}/edit")

    assert (page.status_code, "Unreadable" in page.text) == (200, True)
    assert (
        operator.post("/edit_token", {"token": digest} | form_of(page.text) | {"not_before": ""}).status_code
        == 303
    )


@pytest.mark.parametrize("name", ["1m85v745vvbyf6sq", "x", "%00", "acl_" + "k" * 38])
def test_edit_page_of_no_token(operator: Operator, name: str) -> None:
    """There is no edit page of an unknown token, and none is found by its secret."""
    assert operator.get(f"/tokens/{name}/edit").status_code == 404


@pytest.mark.parametrize("verb", ["create", "rotate"])
def test_secret_once(operator: Operator, database: Any, verb: str) -> None:
    """Beside a new secret there are lines for each client, each with a button that copies them."""
    secret = create(operator, hosts="a.test")
    if verb == "rotate":
        form = {"token": database.hget(record_of(secret), "id"), "grace_seconds": "60"}
        page = operator.post("/rotate_token", form).text
    else:
        page = operator.post("/create_token", {"hosts": "a.test"}).text
    fields = re.findall(r'<(?:input|textarea)\s[^>]*id="([\w-]+)"[^>]*readonly', page)

    assert NEW_TOKEN.search(page)
    assert fields == re.findall(r'data-copy="([\w-]+)"', page)
    assert fields == ["new-token", "curl", "openai", "ollama", "git", "prometheus", "traefik"]
    assert "because only its hash is stored" in page
    assert ("The old secret stays valid" in page) == (verb == "rotate")
