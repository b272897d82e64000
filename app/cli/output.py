"""What commands print, for people and as JSON."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Mapping
from typing import Any

import click

from app.core.changes import Change, Issued
from app.core.durability import WARNINGS
from app.core.durations import distance
from app.core.managed import Applied
from app.core.text import visible

_TOLD = f"{__name__}.told"


def is_terminal() -> bool:
    """Return whether standard output is a terminal, so that a person reads it."""
    return bool(sys.stdout and sys.stdout.isatty())


def json_line(shown: Mapping[str, Any]) -> None:
    """Print one object on one line."""
    click.echo(json.dumps(shown))


def result(shown: Mapping[str, Any], text: str, *, as_json: bool) -> None:
    """Print *text*, or *shown* in JSON."""
    click.echo(json.dumps(shown) if as_json else text)


def aside(text: str) -> None:
    """Print on standard error what only a person at a terminal needs."""
    if sys.stderr and sys.stderr.isatty():
        click.echo(wrapped(visible(text)), err=True)


def wrapped(text: str, indent: str = "") -> str:
    """Return *text* for a terminal, with lines after the first that begin with *indent*; else as it is."""
    if not is_terminal():
        return text
    columns = max(shutil.get_terminal_size().columns - len(indent), 20)
    lines = textwrap.wrap(text, columns, break_long_words=False, break_on_hyphens=False)
    return f"\n{indent}".join(lines)


def issued(change: Issued, verb: str, *, as_json: bool, is_quiet: bool) -> None:
    """Print a new secret alone on standard output, because scripts read it from there, or in JSON."""
    if as_json:
        json_line({"token": change.secret} | described(change))
    else:
        click.echo(change.secret)
    if not (as_json or is_quiet):
        aside(f"{verb} token {_summary(change)}. Its secret, above, is not shown again.")
    warn(change)


def _summary(change: Change) -> str:
    token = change.token
    end = distance(token.expires_at - change.changed_at) if token.expires_at is not None else "never"
    return f"{token.id} for {', '.join(token.hosts)}; it expires {end}"


def done(verb: str, change: Change, *, as_json: bool) -> None:
    """Print what was done to a token, or the token that it left."""
    if as_json:
        json_line(described(change))
    else:
        click.echo(f"{verb} {change.token.id}")
    warn(change)


def described(change: Change) -> dict[str, Any]:
    """Return the token that a change left, and the durability of the change."""
    return change.token.described(change.changed_at) | {"durability": change.durability.value}


def warn(change: Change | Applied) -> None:
    """Print on standard error, once per command, why a crash of Redis may undo *change*, if it may."""
    told: set[str] = click.get_current_context().meta.setdefault(_TOLD, set())
    warning = WARNINGS.get(change.durability)
    if warning and warning not in told:
        told.add(warning)
        click.echo(f"{warning}.", err=True)
