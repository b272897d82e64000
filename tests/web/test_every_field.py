"""Every field of a token, at every input and output, so that a place that lacks one is found."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html import unescape
from typing import Any

import pytest
from flask.testing import FlaskClient
from jsonschema_rs import Draft202012Validator

from app.core.fields import FIELDS, KEPT, Field
from app.core.kinds import Number, Text
from app.core.list_kinds import ListKind
from app.store import records
from app.web.openapi import DESCRIPTION
from tests.web.conftest import OPERATOR, Operator

TYPED = {
    "hosts": "b.test\n*.c.test",
    "methods": "GET\nPROPFIND",
    "paths": "/v1/models\n/v1/*",
    "networks": "192.0.2.0/24\n2001:db8::1",
    "text": "a value",
    "email": "a@b.example",
    "number": "7",
    "lifetime": "600",
    "moment": "2030-01-31T18:00:00Z",
    "choice": "day",
}
LISTS = {field.kind.name: TYPED[field.kind.name].split() for field in FIELDS.values() if field.kind.is_list}
SENT: dict[str, Any] = TYPED | LISTS | {"number": 7, "lifetime": 600}
KEPT_AS = TYPED | {name: ",".join(items) for name, items in LISTS.items()} | {"moment": "1896112800"}
FAULTY = dict.fromkeys(TYPED, "\u202e") | {"hosts": "a/b"}
SCHEMAS = DESCRIPTION["components"]["schemas"]

every_field = pytest.mark.parametrize("field", FIELDS.values(), ids=lambda field: field.name)
every_stored_field = pytest.mark.parametrize("field", KEPT, ids=lambda field: field.name)


def pair(field: Field) -> list[Field]:
    """Return *field*, and the one that is not set without it."""
    return [field, *(FIELDS[name] for name in (field.partner,) if name)]


def sent(field: Field) -> dict[str, Any]:
    """Return a value of *field* and of its partner as JSON."""
    return {known.name: SENT[known.kind.name] for known in pair(field)}


@pytest.fixture
def operator(make_client: Callable[..., FlaskClient]) -> Operator:
    """Return the operator of an app with every setting that a field needs."""
    return Operator(make_client(TRUSTED_PROXIES="private"))


def typed(field: Field, *others: str) -> dict[str, str]:
    """Return a form value of *field*, with the other fields that a token needs."""
    return dict.fromkeys(others, "a.test") | {known.name: TYPED[known.kind.name] for known in pair(field)}


def record(database: Any) -> Any:
    """Return the only record in the database."""
    (name,) = database.keys("tokens:*")
    return database.hgetall(name)


def keep(database: Any, field: Field) -> str:
    """Store a token with a value of *field*; return its digest."""
    kept = {known.name: KEPT_AS[known.kind.name] for known in pair(field)}
    database.hset(f"tokens:{'ab' * 32}", mapping={"hosts": "a.test"} | kept)
    return "ab" * 32


def shown(page: str, name: str) -> str:
    """Return the value of the input with that name."""
    inputs = re.findall(r'<input\b[^>]*\bvalue="([^"]*)"[^>]*\bid="(\w+)"', page)
    areas = re.findall(r'<textarea\b[^>]*\bid="(\w+)"[^>]*>\n([^<]*)', page)
    selects = re.findall(r'<select\b[^>]*\bid="(\w+)"[^>]*>(.*?)</select>', page, re.DOTALL)
    chosen = {id_: "".join(re.findall(r'value="([^"]*)" selected', options)) for id_, options in selects}
    return unescape(({id_: value for value, id_ in inputs} | dict(areas) | chosen)[name])


def tokens_command(operator: Operator, *args: str) -> Any:
    """Run ``flask tokens`` and return its JSON output."""
    result = operator._client.application.test_cli_runner().invoke(args=["tokens", *args])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def api(operator: Operator, method: str, path: str, body: Any = None) -> Any:
    """Return the body of a response of the API."""
    answer = operator._client.open(f"/api/v1{path}", method=method, json=body, auth=OPERATOR)
    return answer.json


def holds(field: Field, value: Any) -> bool:
    """Return whether *value* is what was sent for *field*, or the expiry that follows from it."""
    return bool(value == SENT[field.kind.name] if field.is_kept else value)


def beyond(field: Field) -> list[Any]:
    """Return JSON values just outside the bounds of *field*."""
    if isinstance(field.kind, Number):
        return [field.kind.low - 1, field.kind.high + 1]
    if isinstance(field.kind, Text):
        return [f"{'a' * field.kind.max_chars}@b.example"]
    if isinstance(field.kind, ListKind):
        too_many = [LISTS[field.kind.name][0]] * (field.kind.max_items + 1)
        return [too_many, []] if field.is_required else [too_many]
    return {"moment": ["2030-02-30"], "choice": ["hour", ""]}[field.kind.name]


def output(field: Field) -> str:
    """Return the name of *field* in a response."""
    return field.name if field.is_kept else "expires_at"


@every_field
def test_form(operator: Operator, field: Field) -> None:
    """The form has a labeled input with a hint."""
    page = operator.get("/new").text

    assert f'<label for="{field.name}">{field.label}' in page
    assert shown(page, field.name) == ""
    assert f'id="{field.name}-hint"' in page


@every_stored_field
def test_form_to_record(operator: Operator, database: Any, field: Field) -> None:
    """A value submitted in the form is stored in the record, and so is one submitted in an edit."""
    assert operator.post("/create_token", typed(field, "hosts")).status_code == 200
    assert record(database)[field.name] == KEPT_AS[field.kind.name]

    database.flushall()
    digest = keep(database, FIELDS["hosts"])
    assert operator.post("/edit_token", typed(field) | {"token": digest}).status_code == 303
    assert record(database)[field.name] == KEPT_AS[field.kind.name]


@pytest.mark.parametrize(
    "field", [field for field in KEPT if isinstance(field.kind, Text)], ids=lambda field: field.name
)
def test_new_token_page(operator: Operator, field: Field) -> None:
    """The page of a new token shows every text value that was submitted."""
    page = operator.post("/create_token", typed(field, "hosts")).text

    assert f"<dt>{field.label}</dt><dd>{TYPED[field.kind.name]}</dd>" in page


@every_stored_field
def test_record_to_form(operator: Operator, database: Any, field: Field) -> None:
    """The page that edits a token shows the stored value in a form that can be submitted again."""
    page = operator.get(f"/tokens/{keep(database, field)}/edit").text

    assert shown(page, field.name) == TYPED[field.kind.name]


@every_field
def test_invalid_form(operator: Operator, field: Field) -> None:
    """An invalid value is reported under its label, with a link to the input and beside it."""
    faulty = {"hosts": "a.test", field.name: FAULTY[field.kind.name]}
    page = operator.post("/create_token", faulty).text

    assert f'<a href="#{field.name}">{field.label}</a>: ' in page
    assert f'id="{field.name}-problem"' in page
    assert not field.fold or '<details class="field more-fields" open>' in page


def test_order_of_problems(operator: Operator) -> None:
    """Problems are listed in the order of the form."""
    page = operator.post("/create_token", {f.name: FAULTY[f.kind.name] for f in FIELDS.values()}).text

    assert re.findall(r'<a href="#(\w+)">', page) == re.findall(r'<label for="(\w+)">', page) == [*FIELDS]


@every_field
def test_api(operator: Operator, field: Field) -> None:
    """A value sent as JSON is in every response, and requests and responses match their schemas."""
    body = {"hosts": ["a.test"]} | sent(field)
    created = api(operator, "POST", "/tokens", body)
    name = output(field)

    Draft202012Validator(SCHEMAS["NewToken"]).validate(body)
    assert holds(field, created[name])
    assert holds(field, api(operator, "GET", f"/tokens/{created['id']}")[name])
    assert holds(field, api(operator, "GET", "/tokens")["tokens"][0][name])
    assert (
        created.keys() == SCHEMAS["IssuedToken"]["properties"].keys() == {*SCHEMAS["IssuedToken"]["required"]}
    )


@every_field
def test_api_edit(operator: Operator, field: Field) -> None:
    """A PATCH changes the field, and null clears it if it is optional."""
    created = api(operator, "POST", "/tokens", {"hosts": ["a.test"]})
    path, body = f"/tokens/{created['id']}", sent(field)

    Draft202012Validator(SCHEMAS["Change"]).validate(body)
    assert holds(field, api(operator, "PATCH", path, body)[output(field)])
    after = api(operator, "PATCH", path, dict.fromkeys(sent(field)))
    assert field.name in after["errors"] if field.is_required else True
    assert after.get(field.name) == (created.get(field.name) if not field.is_required else None)


@every_field
def test_api_type(operator: Operator, field: Field) -> None:
    """A value of the wrong type is refused by name, and the schema rejects it."""
    body = {"hosts": ["a.test"], field.name: {}}

    assert {*api(operator, "POST", "/tokens", body)["errors"]} == {field.name}
    assert not Draft202012Validator(SCHEMAS["NewToken"]).is_valid(body)
    assert not Draft202012Validator(SCHEMAS["Change"]).is_valid(body)


@every_field
def test_commands(operator: Operator, field: Field) -> None:
    """Every command has an option for the field and prints its value as JSON."""
    option = [arg for name, text in typed(field).items() for arg in (f"--{name.replace('_', '-')}", text)]
    arguments = option[1].split("\n") if field.is_required else ("a.test", *option)
    created = tokens_command(operator, "create", "--json", *arguments)
    other = tokens_command(operator, "create", "--json", "a.test")
    edited = tokens_command(operator, "edit", "--json", other["id"], *option)
    expected = field.kind.to_json(field.kind.parse(option[1]))

    for printed in (created, edited, tokens_command(operator, "show", "--json", created["id"])):
        assert printed[field.name] == expected if field.is_kept else printed["expires_at"]


@every_field
def test_bounds(operator: Operator, field: Field) -> None:
    """A value just outside the bounds is refused by name, and the schema rejects it."""
    for value in beyond(field):
        body = {"hosts": ["a.test"], field.name: value}
        assert {*api(operator, "POST", "/tokens", body)["errors"]} == {field.name}
        assert not Draft202012Validator(SCHEMAS["NewToken"]).is_valid(body)
        assert not Draft202012Validator(SCHEMAS["Change"]).is_valid(body)


@pytest.mark.parametrize("field", [field for field in KEPT if field.partner], ids=lambda field: field.name)
def test_partner(operator: Operator, field: Field) -> None:
    """A field that has a partner is refused without it, in a new token and in an edit, and both are named."""
    alone = {field.name: SENT[field.kind.name]}
    made = api(operator, "POST", "/tokens", {"hosts": ["a.test"]})
    for method, path, body in (
        ("POST", "/tokens", {"hosts": ["a.test"]} | alone),
        ("PATCH", f"/tokens/{made['id']}", alone),
    ):
        refused = api(operator, method, path, body)
        assert refused["status"] == 409
        assert refused["errors"] == {field.partner: f"needed with {field.name}; set both or neither"}


@pytest.mark.parametrize("command", ["create", "edit"])
def test_help(operator: Operator, command: str) -> None:
    """The help of each command lists every option with the meaning of its field."""
    runner = operator._client.application.test_cli_runner()
    text = " ".join(runner.invoke(args=["tokens", command, "--help"]).output.split())
    text = text.replace("- ", "-")  # undo line breaks after a hyphen

    for field in FIELDS.values():
        if command == "edit" or not field.is_required:
            option = f"--{field.name.replace('_', '-')} TEXT"
            assert f"{option} {field.meaning().replace('`', '')}." in text


@every_stored_field
def test_record(field: Field) -> None:
    """The field is written to a record and read back."""
    kept = {"hosts": "a.test"} | {known.name: KEPT_AS[known.kind.name] for known in pair(field)}
    token = records.from_fields(
        "ab" * 32, [kept[name].encode() if name in kept else None for name in records.FIELDS], None
    )

    assert getattr(token, field.name) == field.kind.parse(TYPED[field.kind.name])
    assert records.to_fields(token)[field.name] == KEPT_AS[field.kind.name]
