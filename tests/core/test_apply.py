"""The plan that makes stored tokens those of a file."""

from __future__ import annotations

from typing import Any

import pytest

from app.core.apply import Create, End, Plan, Update, plan
from app.core.declared import Wanted
from app.core.errors import ConflictError
from app.core.fields import FIELDS, KEPT, Terms
from app.core.tokens import Fault, Token
from devkit.builders import NOW, make_token

A, B, C = "a" * 64, "b" * 64, "c" * 64


def want(key: str = "ci", digest: str = A, *, enabled: bool | None = None, **terms: Any) -> Wanted:
    """Return a declaration for example.com, changed by *terms*."""
    return Wanted(key, (digest,), Terms(**{"hosts": ("example.com",), **terms}), enabled)


def planned(wanted: list[Wanted], *stored: Token, prune: bool = False) -> Plan:
    """Return the plan for *wanted* on a database with the tokens *stored*."""
    found = {token.digest: token for token in stored}
    managed = [token for token in stored if token.managed]
    return plan(wanted, found.get, managed, NOW, prune=prune)


def lines(wanted: list[Wanted], *stored: Token, prune: bool = False) -> list[str]:
    """Return the lines of that plan without the ids of tokens."""
    steps = planned(wanted, *stored, prune=prune).steps
    ids = {token.id for token in stored}
    return [" ".join(word for word in str(step).split() if word.strip(":") not in ids) for step in steps]


def test_new_token() -> None:
    """A declaration without a token creates it."""
    assert lines([want(enabled=False)]) == ["+ ci: create for example.com (disabled)"]


def test_nothing_to_do() -> None:
    """A token that is as declared needs no change."""
    found = planned([want()], make_token(A, managed="ci"))

    assert (found.steps, found.notes, found.kept) == ((), (), (A,))
    assert found.summary(is_done=True) == "no changes, 1 unchanged"


def test_every_field() -> None:
    """Each field that a declaration can have is compared, and both values are shown."""
    values: dict[str, Any] = {
        "hosts": ("a.test", "b.test"),
        "email": "a@b.test",
        "comment": "x",
        "methods": ("GET",),
        "paths": ("/b",),
        "networks": ("10.0.0.0/8",),
        "not_before": NOW,
        "rate_limit_max": 5,
        "rate_limit_window_sec": 6,
        "quota_max": 7,
        "quota_period": "day",
        "expires_at": NOW + 60,
    }
    (step,) = planned([want(**values)], make_token(A, managed="ci", paths=("/a", "/c"))).steps

    assert values.keys() == {field.name for field in KEPT} | {"expires_at"}
    assert values.keys() <= FIELDS.keys()
    assert isinstance(step, Update)
    assert {each.name for each in step.differences} == values.keys()
    assert "paths: /a, /c → /b" in str(step)
    assert "rate_limit_max: the default → 5" in str(step)


def test_switch() -> None:
    """Only a declaration that says enabled switches a token; a disabled one is pointed out otherwise."""
    off = make_token(A, managed="ci", enabled=False)

    assert lines([want(enabled=True)], off) == ["~ ci: enabled: false → true"]
    assert lines([want(enabled=False)], make_token(A, managed="ci")) == ["~ ci: enabled: true → false"]
    assert lines([want()], off) == []
    assert "enabled = true" in planned([want()], off).notes[0]


def test_adoption() -> None:
    """A token with the declared secret that no file manages becomes managed."""
    assert lines([want()], make_token(A)) == ["~ ci: managed: none → ci"]


def test_new_secret() -> None:
    """Another secret under the same key is one for the same token."""
    assert lines([want(digest=B)], make_token(A, managed="ci")) == ["~ ci: secret: replaced"]


def test_exchanged_secrets() -> None:
    """Two declarations that exchange their secrets exchange their keys, and no token ends."""
    stored = make_token(A, managed="a"), make_token(B, managed="b")
    steps = lines([want("a", B), want("b", A)], *stored, prune=True)

    assert steps == ["~ a: managed: b → a", "~ b: managed: a → b"]


def test_key_of_another_token() -> None:
    """If the declared secret has a token, the one that had the key ends: its secret left the file."""
    steps = lines([want(digest=B)], make_token(A, managed="ci"), make_token(B))

    assert steps == ["~ ci: managed: none → ci", "- ci: end another token has its key"]


@pytest.mark.parametrize("prune", [True, False])
def test_token_that_left(*, prune: bool) -> None:
    """A managed token that is no longer declared ends if asked, and is pointed out otherwise."""
    found = planned([], make_token(A, managed="old"), make_token(B), prune=prune)

    assert [isinstance(step, End) for step in found.steps] == [True] * prune
    assert bool(found.notes) is not prune


def test_expired() -> None:
    """A declaration whose end has passed creates nothing and ends its token; it is no mistake."""
    over = want(expires_at=NOW)

    assert lines([over]) == []
    assert planned([over]).notes == ("ci: expired at 2026-11-24T04:03:02Z",)
    assert lines([over], make_token(A, managed="ci"))[0].startswith("- ci: end it expired at")


def test_unreadable() -> None:
    """A record of which a field is invalid is written anew, and a key that holds none is replaced."""
    assert lines([want()], make_token(A, managed="ci", fault=Fault.FIELDS)) == [
        "~ ci: record: unreadable → written anew"
    ]
    steps = planned([want()], make_token(A, fault=Fault.KEY)).steps
    assert [type(step) for step in steps] == [End, Create]


def test_replaced_secret() -> None:
    """A declaration must not take over the token of another one by a secret that was replaced."""
    token = make_token(B, managed="b")
    with pytest.raises(ConflictError, match=r"tokens\.b: its secret was replaced .* tokens\.a"):
        plan([want("a", A), want("b", B)], {A: token, B: token}.get, [token], NOW, prune=False)


def test_several_steps() -> None:
    """Steps keep the order of the file, ends come last, and the summary counts them."""
    stored = make_token(A, managed="a"), make_token(B, managed="old")
    found = planned([want("new", C), want("a", A, comment="x")], *stored, prune=True)

    assert [type(step) for step in found.steps] == [Create, Update, End]
    assert found.summary(is_done=False) == "1 to create, 1 to change, 1 to end, 0 unchanged"
    assert [step.described()["action"] for step in found.steps] == ["create", "change", "end"]
