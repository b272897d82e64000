"""The fields that records.py and take.lua read and write."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from app.core.fields import KEPT
from app.store import records

TAKE = (Path(records.__file__).parent / "lua/take.lua").read_text("utf-8")
QUOTA = {"quota_period", "quota_used"}
STATE = {"enabled", "moved_to", "moved_id", "last_used_at"}


def test_fields_that_the_script_reads() -> None:
    """take.lua reads by name the fields that identify a token, those it decides by, and the state.

    A number that no decision needs would not be a reason to refuse a record.
    """
    listed = re.findall(r"'HMGET', KEYS\[1\],(.*?)\)", TAKE, re.DOTALL)
    read = {*re.findall(r"'(\w+)'", "".join(listed))}

    assert read == {*records.IDENTIFYING, *records.DECIDING, *QUOTA} | STATE
    assert read <= {*records.FIELDS}


def test_fields_that_the_script_writes() -> None:
    """take.lua writes only fields that are read again."""
    written = {*re.findall(r"'HSET(?:NX)?', KEYS\[1\], '(\w+)'", TAKE)}

    assert written == {"first_used_at", "last_used_at", "quota_used"} <= {*records.FIELDS}


@pytest.mark.parametrize("name", [field.name for field in KEPT if field.name not in records.IDENTIFYING])
def test_long_value(name: str) -> None:
    """A value of any length that another program wrote is truncated, so that no page becomes too large."""
    values = {"hosts": b"a.test", name: b"x," * 1_000_000}
    token = records.from_fields("ab" * 32, [values.get(known) for known in records.FIELDS], None)

    assert len(f"{getattr(token, name)}") <= 4096
    assert token.hosts == ("a.test",)
