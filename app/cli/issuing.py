"""The commands that give tokens new secrets, which are printed once."""

from __future__ import annotations

from typing import Any

import click

from app.cli import arguments, output, several, stdin
from app.cli.actors import actor
from app.cli.groups import tokens
from app.core.fields import FIELDS
from app.core.tokens import Token
from app.services import services


@tokens.command("create")
@click.argument("hosts", nargs=-1, required=True)
@arguments.fields(*(name for name in FIELDS if name != "hosts"))
@stdin.existing_secret
@arguments.quiet
@arguments.as_json
def create(
    hosts: tuple[str, ...], *, as_json: bool, quiet: bool, secret: str | None, weak: bool, **options: Any
) -> None:
    """Create a token for HOSTS and print its secret; it is not shown again."""
    if weak and secret is None:
        raise click.BadParameter(
            "only with --secret -; a generated secret is never weak", param_hint="--weak"
        )
    typed = {"hosts": "\n".join(hosts)} | arguments.given(options)
    issued = services().registry.issue(actor(), typed, secret=secret, allow_weak=weak)
    output.issued(issued, "Created", as_json=as_json, is_quiet=quiet)


@tokens.command("rotate")
@arguments.tokens
@arguments.grace
@arguments.grace_seconds
@arguments.quiet
@arguments.as_json
def rotate(names: tuple[str, ...], *, as_json: bool, quiet: bool, **options: str | None) -> None:
    """Give tokens new secrets and print them, one per line; they are not shown again."""
    grace_s = arguments.given(options).get("grace_seconds", "0")
    several.each(names, lambda token: _rotate(token, grace_s, as_json=as_json, is_quiet=quiet))


def _rotate(token: Token, grace_s: str, *, as_json: bool, is_quiet: bool) -> None:
    output.issued(
        services().registry.rotate(actor(), token, grace_s), "Rotated", as_json=as_json, is_quiet=is_quiet
    )
