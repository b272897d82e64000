"""Audit entries in words."""

from __future__ import annotations

import pytest

from app.core.audit import CUT, Action, Entry, Via
from app.core.audit_words import told
from app.core.fields import KEPT

HOSTS = {"hosts": "a.test"}


def entry(action: str, old: dict[str, str], new: dict[str, str], via: str = Via.PAGE) -> Entry:
    """Return an entry of the operator ops."""
    return Entry(
        cursor="1-0-0",
        at_ms=1,
        action=action,
        via=via,
        actor="ops",
        address="",
        token_id="" if action == Action.LOGIN_REFUSED else "X",
        old=old,
        new=new,
    )


def sentence(action: str, old: dict[str, str], new: dict[str, str], via: str = Via.PAGE) -> str:
    """Return the sentence and the changes that it leaves out, in one line."""
    words = told(entry(action, old, new, via))
    return "; ".join([f"{words.who} {words.did} {words.token_id}{words.rest}", *map(str, words.changes)])


@pytest.mark.parametrize(
    ("action", "old", "new", "expected"),
    [
        ("create", {}, HOSTS | {"comment": "CI"}, "ops created X for a.test; comment CI"),
        ("create", {}, {"hosts": "a,b,c,d"}, "ops created X for a, b, c and 1 more; hosts a, b, c, d"),
        (
            "create",
            {},
            {"hosts": f"a,b,c,d{CUT}"},
            f"ops created X for a, b, c and more; hosts a, b, c, d{CUT}",
        ),
        ("edit", HOSTS, {"hosts": "b.test"}, "ops changed hosts of X from a.test to b.test"),
        ("edit", {}, {"methods": "GET"}, "ops changed methods of X from none to GET"),
        ("edit", {"rate_limit_max": "5"}, {}, "ops changed rate_limit_max of X from 5 to the default"),
        ("edit", {}, {"comment": "c" * 99}, f"ops changed comment of X; comment from none to {'c' * 99}"),
        (
            "edit",
            {"comment": "a"},
            {"comment": "b", "quota_max": "5"},
            "ops changed 2 fields of X; comment from a to b; quota_max from none to 5",
        ),
        ("enable", {"enabled": "0"}, {}, "ops enabled X"),
        ("disable", {}, {"enabled": "0"}, "ops disabled X"),
        ("rotate", {"sha256": "1"}, {"sha256": "2"}, "ops rotated X; its old secret ended at once"),
        (
            "rotate",
            {},
            {"grace_ends_at": "60000"},
            "ops rotated X; its old secret is valid until 1970-01-01T00:01:00Z",
        ),
        ("retire", {"sha256": "1"}, {}, "ops ended a replaced secret of X"),
        ("delete", HOSTS, {}, "ops deleted X, which was for a.test"),
        ("login_refused", {}, {}, "ops was refused to sign in, after too many wrong passwords "),
        ("burn", {}, {}, "ops did burn to X"),
    ],
)
def test_sentences(action: str, old: dict[str, str], new: dict[str, str], expected: str) -> None:
    """A short change is told in the sentence, and no change is left out."""
    assert sentence(action, old, new) == expected


def test_every_action_has_words() -> None:
    """No action is told by its bare name."""
    assert not [action for action in Action if f"did {action} to" in sentence(action, {}, {})]


def test_every_field_is_told() -> None:
    """Whatever field is edited, the sentence or the changes name it."""
    names = [field.name for field in KEPT]
    assert [name for name in names if name in sentence("edit", {name: "1"}, {name: "2"})] == names


def test_holders() -> None:
    """The holder of a token has no name."""
    assert sentence("rotate", {}, {}, Via.SELF).startswith("The holder rotated X")
