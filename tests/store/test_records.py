"""What a record holds."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from app.core.fields import KEPT
from app.store import records

TAKE = (Path(records.__file__).parent / "lua/take.lua").read_text("utf-8")
OF_THE_STATE = {"enabled", "moved_to", "last_used_at"}


def test_what_the_script_reads() -> None:
    """take.lua reads by name what identifies a token, what it decides with, and the token's state.

    A number that no decision needs, should there ever be one, is no reason to refuse a record.
    """
    (listed,) = re.findall(r"'HMGET', KEYS\[1\],(.*?)\)\n", TAKE, re.DOTALL)
    read = {*re.findall(r"'(\w+)'", listed)}

    assert read == {*records.IDENTIFYING, *records.DECIDING} | OF_THE_STATE
    assert read <= {*records.FIELDS}


def test_what_the_script_writes() -> None:
    """take.lua writes no field that is not read again."""
    written = {*re.findall(r"'HSET(?:NX)?', KEYS\[1\], '(\w+)'", TAKE)}

    assert written == {"first_used_at", "last_used_at"} <= {*records.FIELDS}


@pytest.mark.parametrize("name", [field.name for field in KEPT if field.name not in records.IDENTIFYING])
def test_long_value(name: str) -> None:
    """A value that others wrote at any length is cut, so that no page grows by it."""
    values = {"hosts": b"a.test", name: b"x," * 1_000_000}
    token = records.from_fields("ab" * 32, [values.get(known) for known in records.FIELDS], None)

    assert len(f"{getattr(token, name)}") <= 4096
    assert token.hosts == ("a.test",)
