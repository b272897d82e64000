"""Forms that Redis could not serve: their page keeps what was sent, to be sent again."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import unescape
from typing import Any

import pytest
from flask.testing import FlaskClient

from app.core.errors import StoreUnavailableError, UnknownOutcomeError
from app.core.tokens import mint
from tests.web.conftest import Operator

FORM = re.compile(r'<form class="submit" method="post" action="([^"]+)">(.*?)</form>', re.DOTALL)
HIDDEN = re.compile(r'<input type="hidden" name="([^"]+)" value="([^"]*)">')
ACTIONS = ("edit", "disable", "enable", "extend", "rotate", "delete")


def offered(page: str) -> tuple[str, dict[str, Any]] | None:
    """Return where a button sends a form again, and the fields with their values."""
    if not (form := FORM.search(page)):
        return None
    fields: dict[str, list[str]] = {}
    for name, value in HIDDEN.findall(form[2]):
        fields.setdefault(name, []).append(unescape(value))
    return form[1], fields


@pytest.fixture
def digest(operator: Operator, database: Any) -> str:
    """Return the digest of a new token."""
    operator.post("/create_token", {"hosts": "old.example", "ttl_seconds": "86400"})
    record: str = next(key for key in database.scan_iter() if key.startswith("tokens:"))
    return record.partition(":")[2]


def test_edit(operator: Operator, offline: FlaskClient, database: Any, digest: str) -> None:
    """What was typed into an edit form arrives when the form is sent again, and only then."""
    record = f"tokens:{digest}"
    typed = {"token": digest, "hosts": "a.example\nb.example", "comment": "<\"&'é>"}
    failed = Operator(offline).post("/edit_token", typed)
    form = offered(failed.text)

    assert failed.status_code == 503
    assert form == ("/edit_token", {name: [text] for name, text in typed.items()})
    assert database.hget(record, "hosts") == "old.example"
    assert operator.post(*form).status_code == 303
    assert database.hmget(record, "hosts", "comment") == ["a.example,b.example", "<\"&'é>"]


def test_actions(offline: FlaskClient) -> None:
    """Each action on a token is offered again as it was sent."""
    for path in (f"/{action}_token" for action in ACTIONS):
        failed = Operator(offline).post(path, {"token": "0" * 16})

        assert offered(failed.text) == (path, {"token": ["0" * 16]})


def test_many_tokens(offline: FlaskClient) -> None:
    """A selection of tokens is not lost."""
    sent = {"action": ["disable"], "token": ["0" * 16, "1" * 16], "form": ["key"]}

    assert offered(Operator(offline).post("/bulk_tokens", sent).text) == ("/bulk_tokens", sent)


@pytest.mark.parametrize(
    ("path", "secret"),
    [
        ("/delete_token", {"token": mint("acl")}),
        ("/bulk_tokens", {"action": "delete", "token": ["0" * 16, "legacy-secret"]}),
        ("/confirm_bulk", {"action": "delete", "all": "1", "q": mint("acl")}),
    ],
)
def test_secrets(offline: FlaskClient, path: str, secret: dict[str, Any]) -> None:
    """A form that may have a secret in it is not repeated."""
    failed = Operator(offline).post(path, secret)

    assert failed.status_code == 503
    assert offered(failed.text) is None
    assert secret.get("q", "legacy-secret") not in failed.text


@pytest.mark.parametrize("lost", [StoreUnavailableError, UnknownOutcomeError])
def test_extension(
    operator: Operator, digest: str, monkeypatch: pytest.MonkeyPatch, lost: type[Exception]
) -> None:
    """Whether or not a token was extended, the form knows the end that it extends: it adds no time twice."""

    def fail(*_: object) -> None:
        raise lost("Redis stopped responding")

    seen = re.findall('name="seen" value="([^"]+)"', operator.get(f"/tokens/{digest}").text)[0]
    monkeypatch.setattr("app.store.durable._run", fail)
    failed = operator.post("/extend_token", {"token": digest, "by": "30d", "seen": seen})

    assert failed.status_code == 503
    assert offered(failed.text) == ("/extend_token", {"token": [digest], "by": ["30d"], "seen": [seen]})


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"comment=" + b"x" * 100_000, "application/x-www-form-urlencoded"),
        (b"malformed", "multipart/form-data; boundary=x"),
        (b"{}", "application/json"),
        (b"", ""),
    ],
)
def test_unreadable_forms(offline: FlaskClient, body: bytes, kind: str) -> None:
    """A body that can't be read, such as one that is too large, is no reason for a 500."""
    send = Operator(offline).post
    failed = [send(f"/{each}_token", body, content_type=kind) for each in ("create", *ACTIONS)]

    assert {each.status_code for each in failed} == {503}
    assert all("Redis is unavailable" in each.text for each in failed)


def test_reading(offline: FlaskClient) -> None:
    """A page that could not be shown has nothing to send again."""
    assert offered(Operator(offline).get("/").text) is None


def test_base_path(make_client: Callable[..., FlaskClient]) -> None:
    """The form goes to the address below BASE_PATH."""
    client = make_client(REDIS_PORT=1, BASE_PATH="/acl")
    failed = Operator(client).post("/acl/disable_token", {"token": "0" * 16})
    form = offered(failed.text)

    assert form
    assert form[0] == "/acl/disable_token"
