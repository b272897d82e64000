"""Unreadable records in the pages, the API and the shell."""

from __future__ import annotations

import json
import re
from html import unescape
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.store.test_bad_records import BAD_FIELDS, BAD_SECRET, OTHER_TYPES
from tests.web.conftest import Operator
from tests.web.test_admin import create, record_of
from tests.web.test_api import Api
from tests.web.test_auth import ask

BAD = OTHER_TYPES | BAD_FIELDS
DIGEST = record_of(BAD_SECRET).removeprefix("tokens:")
VERBS = ("edit", "disable", "enable", "rotate", "delete")


@pytest.fixture(name="api")
def _api(client: FlaskClient) -> Api:
    return Api(client)


def action(page: str, form: str) -> str:
    """Return the value of the *token* field in the form with that action."""
    found = re.search(rf'action="/{form}_token".*?name="token" value="([^"]*)"', page, re.DOTALL)
    assert found, page
    return unescape(found[1])


@pytest.mark.parametrize("kind", BAD)
def test_table_and_page(operator: Operator, client: FlaskClient, database: Any, kind: str) -> None:
    """The table lists an unreadable record by its SHA-256; its page offers only what is possible."""
    secret = create(operator)
    BAD[kind](database, record_of(BAD_SECRET))
    table = operator.get()

    assert table.status_code == 200
    assert "Unreadable" in table.text
    assert DIGEST in table.text
    page = operator.get(f"/tokens/{DIGEST}").text
    assert ("It can only be deleted" in page) == (kind in OTHER_TYPES)
    assert ("Save its fields" in page) == (kind in BAD_FIELDS)
    assert operator.post("/delete_token", {"token": action(page, "delete")}).status_code == 303
    assert not database.exists(record_of(BAD_SECRET))
    assert ask(client, secret).status_code == 200


def test_hostile_text(operator: Operator, database: Any) -> None:
    """Text from other programs, or from a form, neither controls nor reorders a page."""
    hostile = "a\x1b[2J\u202eb\u2066c\u2800d"
    record = {"hosts": f"a.test,{hostile}", "email": hostile, "comment": hostile}
    database.hset(f"tokens:{DIGEST}", mapping=record)
    pages = [
        operator.get(),
        operator.get(f"/tokens/{DIGEST}"),
        operator.get("/", query_string={"q": f"@{hostile}"}),
        operator.post("/create_token", {"hosts": hostile, "comment": hostile, hostile: "x"}),
        operator.post("/rotate_token", {"token": DIGEST}),
    ]

    for page in pages:
        assert r"a\x1b[2J\u202eb\u2066c\u2800d" in page.text
        assert not set(page.text) & set("\x1b\u202e\u2066\u2800")


@pytest.mark.parametrize("kind", BAD)
def test_api(api: Api, database: Any, kind: str) -> None:
    """The API returns an unreadable record as described, and deletes it by its SHA-256."""
    created = api.make()
    BAD[kind](database, record_of(BAD_SECRET))

    statuses = {token["sha256"]: token["status"] for token in api("GET", "/tokens").json["tokens"]}
    assert statuses == {created["sha256"]: "active", DIGEST: "unreadable"}
    assert api("GET", f"/tokens/{DIGEST}").json["status"] == "unreadable"
    assert api("POST", f"/tokens/{DIGEST}/rotate").status == 409
    assert api("PATCH", f"/tokens/{DIGEST}", {"enabled": True}).status == (
        409 if kind in OTHER_TYPES else 200
    )
    assert (api("GET", f"/tokens/{DIGEST}").json["status"] == "unreadable") is (kind in OTHER_TYPES)
    assert api("DELETE", f"/tokens/{DIGEST}").status == 204
    assert api("DELETE", f"/tokens/{DIGEST}").status == 404


@pytest.mark.parametrize("kind", ["list", "moved to itself", "rate_limit_max is b'maybe'"])
def test_shell(client: FlaskClient, database: Any, kind: str) -> None:
    """The shell lists, shows and deletes an unreadable record by its SHA-256."""
    BAD[kind](database, record_of(BAD_SECRET))
    runner = client.application.test_cli_runner()

    assert runner.invoke(args=["tokens", "list"]).output.split("\t")[:2] == [DIGEST, "unreadable"]
    shown = json.loads(runner.invoke(args=["tokens", "show", "--json", DIGEST]).output)
    assert (shown["sha256"], shown["status"]) == (DIGEST, "unreadable")
    assert runner.invoke(args=["tokens", "delete", DIGEST]).exit_code == 0
    assert runner.invoke(args=["tokens", "list"]).output == ""


def test_bad_record_at_auth(client: FlaskClient, database: Any) -> None:
    """An unreadable record is a 503, a key that is not a record a 401, and other tokens are unaffected."""
    database.rpush(record_of(BAD_SECRET), "*")
    database.hset(record_of("good"), "hosts", "example.com")

    assert [ask(client, name).status_code for name in (BAD_SECRET, "good", "none") * 3] == [503, 200, 401] * 3
    assert "acl_auth_redis_up 1.0" in client.get("/metrics").text


@pytest.mark.parametrize("verb", VERBS)
def test_forms_act_on_one_record(operator: Operator, database: Any, verb: str) -> None:
    """If two records have the same id, each page's forms change only the record shown."""
    secret = create(operator)
    name, real = database.hget(record_of(secret), "id"), record_of(secret).removeprefix("tokens:")
    database.hset(record_of(BAD_SECRET), mapping={"hosts": "example.com", "id": name, "comment": "decoy"})
    if verb == "enable":
        database.hset(record_of(secret), "enabled", "0")
    before = database.hgetall(record_of(BAD_SECRET))
    table = operator.get().text
    assert {f"/tokens/{real}", f"/tokens/{DIGEST}"} <= set(re.findall('href="(/tokens/[^"]+)"', table))

    address = f"/tokens/{real}/edit" if verb == "edit" else f"/tokens/{real}"
    sent = action(operator.get(address).text, verb)
    answer = operator.post(f"/{verb}_token", {"token": sent} | ({"comment": "x"} if verb == "edit" else {}))

    assert sent == real
    assert answer.status_code == (200 if verb == "rotate" else 303)
    assert "=" + name not in answer.headers.get("Location", "") or verb == "delete"
    assert database.hgetall(record_of(BAD_SECRET)) == before


@pytest.mark.parametrize("verb", VERBS)
def test_ambiguous_id(operator: Operator, api: Api, database: Any, verb: str) -> None:
    """An id that two records share is refused everywhere, with both SHA-256s to choose from."""
    secret = create(operator)
    name, real = database.hget(record_of(secret), "id"), record_of(secret).removeprefix("tokens:")
    database.hset(record_of(BAD_SECRET), mapping={"hosts": "example.com", "id": name})
    operator.get()
    before = database.hgetall(record_of(secret))

    form = operator.post(f"/{verb}_token", {"token": name})
    page, answer = operator.get(f"/tokens/{name}"), api("GET", f"/tokens/{name}")

    assert (form.status_code, page.status_code, answer.status) == (409, 409, 409)
    for shown in (form.text, page.text, answer.text):
        assert real in shown
        assert DIGEST in shown
    assert api("DELETE", f"/tokens/{name}").status == 409
    assert api("PATCH", f"/tokens/{name}", {"comment": "x"}).status == 409
    assert database.hgetall(record_of(secret)) == before


@pytest.mark.parametrize(
    "fields",
    [
        {"rate_limit_max": "999999999999", "rate_limit_window_sec": "999999999999"},
        {"not_before": "999999999999", "created_at": "999999999999"},
        {"email": "x" * 5_000, "comment": "y" * 50_000},
        {"hosts": "a," * 20_000},
        {"email": b"\xff\xfe", "comment": b"\x1b[31m\0\r\n"},
        {"created_at": "4102444800", "first_used_at": "1", "last_used_at": "2"},
    ],
)
def test_readable_records_of_other_programs(
    operator: Operator, api: Api, database: Any, fields: dict[str, Any]
) -> None:
    """Readable values that we would not write ourselves are shown as described."""
    database.hset(record_of(BAD_SECRET), mapping={"hosts": "example.com"} | fields)
    database.execute_command("PEXPIREAT", record_of(BAD_SECRET), 2**61)

    (listed,) = api("GET", "/tokens").json["tokens"]
    shown = api("GET", f"/tokens/{DIGEST}").json

    assert listed["status"] != "unreadable"
    assert listed | {"usage": shown["usage"], "quota": None} == shown
    assert [operator.get(path).status_code for path in ("/", f"/tokens/{DIGEST}")] == [200, 200]
    assert len(operator.get().data) < 200_000
    assert operator._client.application.test_cli_runner().invoke(args=["tokens", "list"]).exit_code == 0


def test_times_in_order(operator: Operator, api: Api, client: FlaskClient) -> None:
    """A token created and used just now is not shown as used before it was created."""
    created = api.make(hosts=["example.com"])
    ask(client, created["token"])

    shown = api("GET", f"/tokens/{created['id']}").json
    assert shown["created_at"] <= shown["first_used_at"] <= shown["last_used_at"]
    page = operator.get(f"/tokens/{created['id']}").text
    shown_times = re.findall(r"<dt>(Created|First used|Last used)</dt><dd>([a-z ]+) <time", page)
    assert len(shown_times) == 3
    assert not [words for _, words in shown_times if re.search("second|in ", words)]
