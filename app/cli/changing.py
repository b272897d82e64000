"""The commands that create and change tokens."""

from __future__ import annotations

import json
from typing import Any

import click

from app.cli import arguments, output, stdin
from app.cli.actors import actor
from app.cli.complaints import complaints
from app.cli.groups import tokens
from app.core.fields import FIELDS
from app.services import services

_force = click.option("--force", is_flag=True, help="Even if a tokens file manages the token.")


@tokens.command("create")
@click.argument("hosts", nargs=-1, required=True)
@arguments.fields(*(name for name in FIELDS if name != "hosts"))
@stdin.existing_secret
@arguments.as_json
def create(hosts: tuple[str, ...], *, as_json: bool, secret: str | None, weak: bool, **options: Any) -> None:
    """Create a token for HOSTS and print its secret; it is not shown again."""
    if weak and secret is None:
        raise click.BadParameter(
            "only with --secret -; a generated secret is never weak", param_hint="--weak"
        )
    typed = {"hosts": "\n".join(hosts)} | arguments.given(options)
    with complaints():
        issued = services().registry.issue(actor(), typed, secret=secret, allow_weak=weak)
    output.issued(issued, as_json=as_json)


@tokens.command("edit")
@arguments.token
@arguments.fields(*FIELDS)
def edit(name: str, **options: str | None) -> None:
    """Change the given fields of a token and leave the others unchanged."""
    with complaints():
        change = services().registry.edit(actor(), arguments.find(name), arguments.given(options))
    click.echo(json.dumps(output.described(change), indent=2))
    output.warn(change.durability)


@tokens.command("disable")
@arguments.token
@_force
def disable(name: str, *, force: bool) -> None:
    """Disable a token."""
    with complaints():
        output.done(
            "disabled", services().registry.enable(actor(), arguments.find(name), enabled=False, force=force)
        )


@tokens.command("enable")
@arguments.token
@_force
def enable(name: str, *, force: bool) -> None:
    """Enable a token."""
    with complaints():
        output.done(
            "enabled", services().registry.enable(actor(), arguments.find(name), enabled=True, force=force)
        )


@tokens.command("rotate")
@arguments.token
@click.option("--grace-seconds", default="0", help="How long the old secret stays valid, up to a week.")
@arguments.as_json
def rotate(name: str, grace_seconds: str, *, as_json: bool) -> None:
    """Give a token a new secret and print it; it is not shown again."""
    with complaints():
        issued = services().registry.rotate(actor(), arguments.find(name), grace_seconds)
    output.issued(issued, as_json=as_json)


@tokens.command("delete")
@arguments.token
def delete(name: str) -> None:
    """Delete a token permanently."""
    with complaints():
        output.done("deleted", services().registry.delete(actor(), arguments.find(name)))
