"""The commands that change tokens."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial

import click

from app.cli import arguments, output, several
from app.cli.actors import actor
from app.cli.groups import tokens
from app.core import extension
from app.core.changes import Change
from app.core.ended import EndedToken, Ending
from app.core.fields import FIELDS
from app.core.text import visible
from app.core.tokens import Token
from app.services import services

_force = click.option("--force", is_flag=True, help="Change the token even if a tokens file manages it.")


@tokens.command("edit")
@arguments.tokens
@arguments.fields(*FIELDS)
@arguments.as_json
def edit(names: tuple[str, ...], *, as_json: bool, **options: str | None) -> None:
    """Change the given fields of tokens and leave the others unchanged."""
    typed = arguments.given(options)
    several.each(names, lambda token: _edit(token, "edited", typed, as_json=as_json))


def _edit(token: Token, verb: str, typed: dict[str, str], *, as_json: bool) -> None:
    output.done(verb, services().registry.edit(actor(), token, typed), as_json=as_json)


@tokens.command("extend")
@arguments.tokens
@click.option(
    "--by",
    metavar="DURATION",
    help="Extend by this duration, from the expiry, or from now if that is later: 30d, 12h.",
)
@click.option(
    "--to", metavar="MOMENT", help="Extend to this time, such as 2030-01-31 or 2030-01-31T18:00:00Z."
)
@arguments.as_json
def extend(names: tuple[str, ...], by: str | None, to: str | None, *, as_json: bool) -> None:
    """Give tokens a later end; MAX_TTL_SECONDS bounds it."""
    if (by is None) == (to is None):
        raise click.UsageError("one of --by and --to is needed")
    span_s = arguments.seconds("by", by) if by is not None else 0
    several.each(names, lambda token: _extend(token, span_s, to, as_json=as_json))


def _extend(token: Token, span_s: int, to: str | None, *, as_json: bool) -> None:
    now_s = services().registry.now_s
    end = extension.extended_by(token, span_s, now_s) if to is None else extension.extended_to(token, to)
    _edit(token, "extended", {"expires_at": end}, as_json=as_json)


@tokens.command("disable")
@arguments.tokens
@_force
@arguments.as_json
def disable(names: tuple[str, ...], *, force: bool, as_json: bool) -> None:
    """Disable tokens."""
    several.each(names, partial(_enable, enabled=False, force=force, as_json=as_json))


@tokens.command("enable")
@arguments.tokens
@_force
@arguments.as_json
def enable(names: tuple[str, ...], *, force: bool, as_json: bool) -> None:
    """Enable tokens."""
    several.each(names, partial(_enable, enabled=True, force=force, as_json=as_json))


def _enable(token: Token, *, enabled: bool, force: bool, as_json: bool) -> None:
    change = services().registry.enable(actor(), token, enabled=enabled, force=force)
    output.done("enabled" if enabled else "disabled", change, as_json=as_json)


@tokens.command("delete")
@arguments.tokens
@click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation at a terminal.")
@arguments.as_json
def delete(names: tuple[str, ...], *, yes: bool, as_json: bool) -> None:
    """Delete tokens permanently; on a terminal, ask first."""
    is_asked = not yes and sys.stdin.isatty()
    several.each(names, partial(_delete, as_json=as_json), _confirm if is_asked else several.agree)


def _confirm(found: Sequence[Token]) -> None:
    """Ask whether to delete the tokens that were *found*; raise Abort unless the answer is yes."""
    for token in found:
        click.echo(visible(f"{token.id}  {', '.join(token.hosts)}  {token.comment}").rstrip(), err=True)
    question = "Delete this token?" if len(found) == 1 else f"Delete these {len(found)} tokens?"
    click.confirm(question, abort=True, err=True)


def _delete(token: Token, *, as_json: bool) -> None:
    change = services().registry.delete(actor(), token)
    if as_json:
        output.json_line(_ended(change).described() | {"durability": change.durability.value})
        output.warn(change)
    else:
        output.done("deleted", change, as_json=False)


def _ended(change: Change) -> EndedToken:
    """Return what is remembered of the token that *change* deleted."""
    token = change.token
    return EndedToken(
        digest=token.digest,
        id=token.id,
        ending=Ending.DELETED,
        ended_at=change.changed_at,
        hosts=token.hosts,
        email=token.email,
        comment=token.comment,
    )
