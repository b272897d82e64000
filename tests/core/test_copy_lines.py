"""The lines of an export: which are valid, and what is said of the others."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from app.core import copy_lines, copy_parsing
from app.core.copies import Copy, RedirectCopy, TokenCopy, UsageCopy
from app.core.copy_values import Line, LineError
from app.core.ended import EndedToken, Ending
from app.core.quotas import Count
from app.core.usage import DAYS, HOURS, Counts
from devkit.builders import make_token

SECRET = "sk-a-secret-in-the-wrong-place"
DIGEST, ID = "ab" * 32, "1m8fwjg99wfa5r8p"
ENDED = EndedToken(digest=DIGEST, id=ID, ending=Ending.REPLACED, ended_at=1_900_000_000, hosts=("a.test",))
FULL = TokenCopy(
    token=make_token(
        hosts=("a.test", "*.b.test"),
        email="no address \ufffd",
        comment="für 日本",
        methods=("GET",),
        not_before=1_700_000_000,
        expires_at=1_900_000_000,
        rate_limit_max=0,
        quota_max=5,
        quota_period="day",
        quota_used=Count(1_700_006_400, 1_700_092_800, 3),
        enabled=False,
    ),
    labels={"pepper": "0123456789abcdef", "managed": "web.ci"},
    stored={"email": "no address \udcff"},
    usage=UsageCopy(
        498_000,
        tuple((column,) * HOURS for column in range(len(Counts._fields))),
        tuple((0,) * (DAYS - 1) + (column,) for column in range(len(Counts._fields))),
    ),
)
REDIRECT = RedirectCopy(digest=DIGEST, id=ID, moved_to="cd" * 32, expires_at=1_900_000_000, replaced=ENDED)
BARE = RedirectCopy(digest=DIGEST, id=None, moved_to="cd" * 32, expires_at=None)


@pytest.mark.parametrize("copy", [FULL, TokenCopy(token=make_token()), REDIRECT, BARE, ENDED])
def test_round_trip(copy: Copy) -> None:
    """What is written is read again."""
    read = copy_parsing.read_line(copy_lines.line(copy))

    assert read == copy


def changed(**members: Any) -> str:
    """Return the line of FULL with other members."""
    return json.dumps(json.loads(copy_lines.line(FULL)) | members)


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"kind": "secret"}, "kind: "),
        ({"kind": ["token"]}, "kind: "),
        ({"secret": SECRET}, "a field that no token has"),
        ({"id": SECRET}, "id: "),
        ({"id": None}, "id: "),
        ({"id": 5}, "id: "),
        ({"sha256": SECRET}, "sha256: "),
        ({"sha256": DIGEST.upper()}, "sha256: "),
        ({"hosts": None}, "hosts: "),
        ({"hosts": "two words"}, ""),
        ({"hosts": [SECRET + "!"]}, "hosts: "),
        ({"hosts": [["a.test"]]}, "hosts: "),
        ({"hosts": {"a.test": 1}}, "hosts: "),
        ({"comment": "a\0b"}, "comment: "),
        ({"comment": "x" * 501}, "comment: "),
        ({"comment": ["x"]}, "comment: "),
        ({"rate_limit_max": SECRET}, "rate_limit_max: "),
        ({"rate_limit_max": True}, "rate_limit_max: "),
        ({"rate_limit_max": -1}, "rate_limit_max: "),
        ({"rate_limit_max": 10**400}, "rate_limit_max: "),
        ({"not_before": 5}, "not_before: "),
        ({"not_before": SECRET}, "not_before: "),
        ({"created_at": SECRET}, "created_at: "),
        ({"created_at": 1_700_000_000}, "created_at: "),
        ({"expires_at": "1969-12-31T23:59:59Z"}, "expires_at: "),
        ({"enabled": "no"}, "enabled: "),
        ({"quota_period": None}, "quota_period: "),
        ({"quota_period": "year"}, "quota_period: "),
        ({"quota_used": 3}, "quota_used: "),
        (
            {"quota_used": {"starts_at": "2030-01-01", "ends_at": "2030-01-02", "admitted": -1}},
            "quota_used: ",
        ),
        ({"quota_used": {"starts_at": SECRET, "ends_at": "2030-01-02", "admitted": 1}}, "starts_at: "),
        ({"pepper": SECRET}, "pepper: "),
        ({"managed": SECRET + "/" + SECRET}, "managed: "),
        ({"managed": "x" * 65}, "managed: "),
        ({"managed": ""}, "managed: "),
        ({"managed": 5}, "managed: "),
        ({"stored": {"id": "x"}}, "stored: "),
        ({"stored": {"email": 5}}, "stored: "),
        ({"stored": {"email": "\ud800"}}, "stored: "),
        ({"stored": {"hosts": "*"}}, "stored: its hosts "),
        ({"stored": {"email": f"{SECRET} x"}}, "stored: its email "),
        ({"stored": {"rate_limit_max": "many"}, "email": ""}, "stored: its rate_limit_max "),
        ({"stored": {"rate_limit_max": "many"}, "rate_limit_max": None, "email": ""}, ""),
        ({"stored": {"hosts": "a b,c"}, "hosts": ["a b", "c"], "email": ""}, ""),
        ({"usage": []}, "usage: "),
        ({"usage": {"until": "2030-01-01", "hours": {"other": [1]}, "days": {}}}, "usage: "),
        ({"usage": {"until": "2030-01-01", "hours": {"allowed": [1] * 49}, "days": {}}}, "usage: "),
        ({"usage": {"until": "2030-01-01", "hours": {"allowed": [2**32]}, "days": {}}}, "usage: "),
        ({"usage": {"until": "2030-01-01", "hours": {"allowed": [True]}, "days": {}}}, "usage: "),
        ({"usage": {"until": None, "hours": {}, "days": {}}}, "until: "),
    ],
)
def test_bad_values(members: dict[str, Any], said: str) -> None:
    """A bad value is refused by the name of its field; the message repeats nothing of the line."""
    if not said:
        copy_parsing.read_line(changed(**members))
        return
    with pytest.raises(LineError) as error:
        copy_parsing.read_line(changed(**members))

    assert str(error.value).startswith(said)
    assert SECRET not in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "5",
        f'"{SECRET}"',
        SECRET,
        "{",
        "[" * 100_000,
        '{"kind":"token","kind":"token"}',
        '{"kind":NaN}',
        '{"kind":' + "9" * 5000 + "}",
        '{"kind":"a\0b"}',
        '{"rate_limit_max":1e999}',
    ],
)
def test_no_copy(text: str) -> None:
    """Whatever else a line has is refused, and not repeated."""
    with pytest.raises(LineError) as error:
        copy_parsing.read_line(text)

    assert SECRET not in str(error.value)


@pytest.mark.parametrize("more", ['"comment":"x",', '"other":NaN,'])
def test_odd_json(more: str) -> None:
    """A name that comes twice, and what JSON does not have, are refused even where all else is valid."""
    with pytest.raises(LineError, match="not a JSON object on one line, with each name once"):
        copy_parsing.read_line(copy_lines.line(TokenCopy(token=make_token())).replace("{", "{" + more, 1))


def test_infinity() -> None:
    """A number that is too large for JSON's readers is no number."""
    with pytest.raises(LineError, match="rate_limit_max"):
        copy_parsing.read_line(copy_lines.line(FULL).replace('"rate_limit_max":0', '"rate_limit_max":1e999'))


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"status": "expired"}, "status: "),
        ({"status": "replaced", "id": None}, "status: "),
        ({"moved_to": DIGEST}, "moved_to: "),
        ({"moved_to": SECRET}, "moved_to: "),
        ({"hosts": [5]}, "hosts: "),
        ({"comment": SECRET, "email": 5}, "hosts: "),
    ],
)
def test_bad_redirects(members: dict[str, Any], said: str) -> None:
    """A redirect that leads nowhere, or does not say whose it is, is refused."""
    line = json.loads(copy_lines.line(REDIRECT)) | members
    with pytest.raises(LineError) as error:
        copy_parsing.read_line(json.dumps(line))

    assert str(error.value).startswith(said)


@pytest.mark.parametrize("status", ["active", None, ["deleted"]])
def test_bad_ends(status: object) -> None:
    """A token ends in one of three ways."""
    with pytest.raises(LineError, match="status: one of expired, deleted, replaced"):
        copy_parsing.read_line(json.dumps(json.loads(copy_lines.line(ENDED)) | {"status": status}))


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("", "not a JSON object"),
        ("[]", "not a JSON object"),
        ('{"kind":"token"}', "not the first line"),
        ('{"format":"acl-auth-service tokens"}', "version: "),
        ('{"format":"acl-auth-service tokens","version":2,"peppers":[]}', "version: "),
        ('{"format":"acl-auth-service tokens","version":1,"peppers":[]}', "peppers: "),
        ('{"format":"acl-auth-service tokens","version":1,"peppers":"0123456789abcdef"}', "peppers: "),
        ('{"format":"acl-auth-service tokens","version":1,"peppers":[["x"]]}', "peppers: "),
    ],
)
def test_bad_headers(header: str, said: str) -> None:
    """A file of another format, or of a later version, is refused."""
    with pytest.raises(LineError) as error:
        copy_parsing.read_header(Line(1, header))

    assert str(error.value).startswith(said)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=100)
@given(st.data())
def test_any_value(data: st.DataObject) -> None:
    """Whatever is in a field, the line is read or refused; what is read can be written and read again."""
    copies: list[Copy] = [FULL, REDIRECT, ENDED]
    copy = data.draw(st.sampled_from(copies))
    line = json.loads(copy_lines.line(copy))
    line[data.draw(st.sampled_from(sorted(line)))] = data.draw(json_values)
    read: Callable[[str], Copy] = copy_parsing.read_line
    try:
        found = read(json.dumps(line))
    except LineError:
        return
    assert copy_lines.line(read(copy_lines.line(found))) == copy_lines.line(found)
