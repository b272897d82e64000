"""Arguments and options that several commands have."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import click

from app.cli import stdin
from app.core.fields import FIELDS, Field
from app.core.tokens import Token
from app.services import services

token = click.argument("name", metavar="TOKEN")
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, one object per line.")


def fields(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add an option for each of the fields *names*; an omitted option is not passed on."""

    def add(command: Callable[..., None]) -> Callable[..., None]:
        for name in reversed(names):
            command = click.option(f"--{name.replace('_', '-')}", name, help=_help(FIELDS[name]))(command)
        return command

    return add


def _help(field: Field) -> str:
    takes = str(field.kind)
    return f"{field.meaning()}. {takes[0].upper()}{takes[1:]}.".replace("`", "")


def given(options: Mapping[str, str | None]) -> dict[str, str]:
    """Return the *options* that were given."""
    return {name: value for name, value in options.items() if value is not None}


def find(name: str) -> Token:
    """Return the token that *name* identifies; for ``-``, read the token from standard input."""
    catalog = services().catalog
    return catalog.find(stdin.read("Token").strip()) if name == "-" else catalog.find_public(name)
