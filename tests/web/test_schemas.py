"""The schemas of the API's bodies agree with the parsers, and clients' engines can compile them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, strategies as st
from jsonschema_rs import Draft202012Validator

from app.core.fields import FIELDS
from app.core.list_kinds import ListKind
from app.web.schemas import schemas

NEW_TOKEN = schemas(datetime.now(UTC).date())["NewToken"]
LISTS = {name: field.kind for name, field in FIELDS.items() if isinstance(field.kind, ListKind)}
ITEMS = {"hosts": "a.test", "methods": "GET", "paths": "/a", "networks": "::1"}
VALIDATORS = {name: Draft202012Validator(NEW_TOKEN["properties"][name]) for name in LISTS}


def test_schema_is_compiled() -> None:
    """An engine that grants a regular expression 10 MiB compiles the schema of a new token."""
    assert Draft202012Validator(NEW_TOKEN).is_valid({"hosts": "a.test", "networks": "10.0.0.0/12 ::1"})


@pytest.mark.parametrize("name", LISTS)
@given(st.data())
def test_texts_are_accepted(name: str, data: st.DataObject) -> None:
    """A text that the schema allows is accepted, whatever stands between and around its items."""
    pieces = st.sampled_from([ITEMS[name], ",", " ", "\n", "\r", "\x1c", "\xa0", "\u2001"])
    text = "".join(data.draw(st.lists(pieces, min_size=1, max_size=8)))
    if VALIDATORS[name].is_valid(text):
        LISTS[name].parse(text)


@pytest.mark.parametrize("name", LISTS)
def test_texts_are_counted(name: str) -> None:
    """A text of one item more than are allowed is refused by the schema, as by the parser."""
    most = LISTS[name].max_items
    texts = [f" {', '.join([ITEMS[name]] * count)}\n" for count in (most, most + 1)]

    assert [VALIDATORS[name].is_valid(text) for text in texts] == [True, False]
