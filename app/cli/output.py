"""What commands print."""

from __future__ import annotations

import json
from typing import Any

import click

from app.core.changes import Change, Issued
from app.core.durability import WARNINGS, Durability


def issued(change: Issued, *, as_json: bool) -> None:
    """Print the secret alone on standard output in plain mode, because scripts read it from there."""
    click.echo(json.dumps({"token": change.secret, **described(change)}) if as_json else change.secret)
    warn(change.durability)


def done(verb: str, change: Change) -> None:
    """Print what was done to a token."""
    click.echo(f"{verb} {change.token.id}")
    warn(change.durability)


def described(change: Change) -> dict[str, Any]:
    """Return the token that a change left, and the durability of the change."""
    return change.token.described(change.changed_at) | {"durability": change.durability.value}


def warn(durability: Durability) -> None:
    """Print on standard error why a crash of Redis may undo a change of that *durability*, if it may."""
    if warning := WARNINGS.get(durability):
        click.echo(f"{warning}.", err=True)
