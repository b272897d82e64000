"""An edit page that was opened before the token changed, or ended, in another tab."""

from __future__ import annotations

import re
from html import unescape
from typing import Any, NamedTuple

import pytest

from app.core.fields import FIELDS
from tests.web.conftest import Operator
from tests.web.test_admin import create, record_of
from tests.web.test_every_field import shown
from tests.web.test_form import form_of

HIDDEN = re.compile(r'<input type="hidden" name="(token|seen)" value="([^"]*)"')


class Tab(NamedTuple):
    """The record of a token, and the fields of its edit page as a browser would send them."""

    record: str
    form: dict[str, str]


def opened(page: str) -> dict[str, str]:
    """Return the fields of the edit form on *page*."""
    return form_of(page) | dict(HIDDEN.findall(page))


@pytest.fixture
def tab(operator: Operator) -> Tab:
    """Open the edit page of a new token."""
    record = record_of(
        create(
            operator, comment="old", email="old@a.test", methods="GET\nPUT", quota_max="5", quota_period="day"
        )
    )
    return Tab(record, opened(operator.get(f"/tokens/{record.partition(':')[2]}/edit").text))


def fields_of(database: Any, tab: Tab) -> list[str]:
    """Return the comment, email address and methods that are stored."""
    return list(database.hmget(tab.record, "comment", "email", "methods"))


def test_other_fields(operator: Operator, database: Any, tab: Tab) -> None:
    """Two edits of different fields both count, and so does what else was done; line ends are no change."""
    operator.post("/edit_token", tab.form | {"comment": "new"})
    operator.post("/disable_token", {"token": tab.form["token"]})
    answer = operator.post("/edit_token", tab.form | {"email": "new@a.test", "methods": "GET\r\nPUT"})

    assert answer.status_code == 303
    assert fields_of(database, tab) == ["new", "new@a.test", "GET,PUT"]
    assert database.hget(tab.record, "enabled") == "0"


def test_same_field(operator: Operator, database: Any, tab: Tab) -> None:
    """An edit replaces no value that its form did not show; it says which, and does so when sent again."""
    operator.post("/edit_token", tab.form | {"comment": "theirs", "methods": "PUT"})
    first = operator.post("/edit_token", tab.form | {"comment": "mine"})
    stored = fields_of(database, tab)

    assert (first.status_code, shown(first.text, "comment")) == (409, "mine")
    assert "Changed since this form was shown, and is now “theirs”" in unescape(first.text)
    assert stored == ["theirs", "old@a.test", "PUT"]
    assert operator.post("/edit_token", opened(first.text)).status_code == 303
    assert fields_of(database, tab) == ["mine", "old@a.test", "PUT"]


def test_sent_twice(operator: Operator, database: Any, tab: Tab) -> None:
    """The same edit again, as by a second click, is no clash."""
    answers = [operator.post("/edit_token", tab.form | {"comment": "new"}) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [303, 303]
    assert fields_of(database, tab)[0] == "new"


@pytest.mark.parametrize("grace", ["0", "60"])
def test_rotated(operator: Operator, tab: Tab, grace: str) -> None:
    """An edit reaches a token that was rotated meanwhile; a program that names an old digest gets a 404."""
    operator.post("/rotate_token", {"token": tab.form["token"], "grace_seconds": grace})
    answer = operator.post("/edit_token", tab.form | {"comment": "new"})
    page = operator.get(answer.headers["Location"])
    again = operator.post("/edit_token", {"token": tab.form["token"], "comment": "x"})

    assert (answer.status_code, "<dd><bdi>new</bdi></dd>" in page.text) == (303, True)
    assert again.status_code == (404 if grace == "0" else 303)


def test_another_action_after_a_rotation(operator: Operator, tab: Tab) -> None:
    """Any other change of a token that was rotated meanwhile is refused; the page says where to find it."""
    operator.post("/rotate_token", {"token": tab.form["token"], "grace_seconds": "0"})
    answer = operator.post("/disable_token", {"token": tab.form["token"]})

    assert (answer.status_code, "look for it by its id" in answer.text) == (404, True)


def test_extended_twice(operator: Operator, database: Any, tab: Tab) -> None:
    """A second click on a page, whose end is that before the first one, adds no more time."""
    database.expireat(tab.record, 4_000_000_000)
    page = operator.get(f"/tokens/{tab.form['token']}").text
    form = {"token": tab.form["token"], "by": "30d"} | dict(HIDDEN.findall(page))
    answers = [operator.post("/extend_token", form) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [303, 409]
    assert "The end has changed since this page was shown" in answers[1].text
    assert database.expiretime(tab.record) == 4_000_000_000 + 30 * 86_400


def test_deleted(operator: Operator, database: Any, tab: Tab) -> None:
    """What was typed for a token that was deleted meanwhile is in a form that creates another one."""
    operator.post("/delete_token", {"token": tab.form["token"]})
    typed = tab.form | {"comment": "typed"}
    answer = operator.post("/edit_token", typed)

    assert (answer.status_code, "ended: deleted" in answer.text) == (404, True)
    assert form_of(answer.text) == {name: typed[name] for name in FIELDS}
    assert "/create_token" in answer.text
    assert database.keys("tokens:*") == []


def test_managed(operator: Operator, database: Any, tab: Tab) -> None:
    """What was typed for a token that a file manages by now is still there, with the reason."""
    database.hset(tab.record, "managed", "ci")
    answer = operator.post("/edit_token", tab.form | {"comment": "typed"})

    assert (answer.status_code, shown(answer.text, "comment")) == (409, "typed")
    assert "managed by a tokens file" in answer.text


@pytest.mark.parametrize("path", ["/create_token", "/edit_token", "/new", "/try_token"])
def test_too_large(operator: Operator, path: str) -> None:
    """A form that is too large is told its bound."""
    answer = operator.post(path, {"comment": "x" * 70_000})

    assert (answer.status_code, "A form has at most 65536 bytes" in answer.text) == (413, True)
