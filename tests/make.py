"""Builders: a test names only what it is about."""

from __future__ import annotations

from typing import Any

from app.core.tokens import TokenSpec
from app.settings import Settings

PEPPER = "a pepper for tests"
ENVIRON = {"PEPPER": PEPPER, "ADMIN_USER": "operator", "ADMIN_PASS": "correct horse"}


def make_settings(**variables: Any) -> Settings:
    """Return settings with the service's defaults but for *variables*, named as in the environment."""
    return Settings.from_environ(ENVIRON | {name: str(value) for name, value in variables.items()})


def make_spec(*hosts: str, **fields: Any) -> TokenSpec:
    """Return a spec for *hosts*, example.com if none is given."""
    return TokenSpec(hosts or ("example.com",), **fields)
