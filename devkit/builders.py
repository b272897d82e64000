"""Builders with defaults, so that a test names only what it is about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from app.core.audit import Actor, Via
from app.core.restrictions import RESTRICTIONS
from app.core.tokens import Token, mint_id
from app.settings import Settings

PEPPER = "a pepper for tests"
ENVIRON = {"PEPPER": PEPPER, "ADMIN_USER": "operator", "ADMIN_PASS": "correct horse"}


def make_settings(**variables: Any) -> Settings:
    """Return the default settings, changed by *variables*, which are named as in the environment."""
    return Settings.from_environ(ENVIRON | {name: str(value) for name, value in variables.items()})


ACTOR = Actor(Via.SHELL, "tester")
NOW = 1_795_492_982


def make_token(digest: str = "ab" * 32, **fields: Any) -> Token:
    """Return a token created at NOW for example.com, changed by *fields*."""
    defaults: dict[str, Any] = {"id": mint_id(NOW * 1000), "hosts": ("example.com",), "created_at": NOW}
    return Token(digest=digest, **defaults | fields)


def candidates(**texts: Sequence[str]) -> list[str]:
    """Return the candidates of a request by the names of the restrictions, none for those left out."""
    found = (texts.get(restriction.field) for restriction in RESTRICTIONS)
    return [f",{','.join(each)}," if each else "" for each in found]
