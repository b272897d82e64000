"""The commands for peppers and sign-ins."""

from __future__ import annotations

import click

from app.cli.complaints import complaints
from app.cli.groups import logins, tokens
from app.services import services


@tokens.command("old-peppers")
def old_peppers() -> None:
    """Print how many tokens have not been used with the current PEPPER since PEPPER_PREVIOUS was set."""
    with complaints():
        click.echo(services().catalog.count_old_peppers())


@tokens.command("forget-pepper")
@click.confirmation_option(prompt="Every token created with another PEPPER will be lost. Continue?")
def forget_pepper() -> None:
    """Accept the current PEPPER as the right one, whichever pepper tokens were created with."""
    with complaints():
        services().registry.forget_peppers()


@logins.command("reset")
def reset() -> None:
    """Forget all wrong passwords, so that every operator may sign in again at once."""
    with complaints():
        click.echo(f"forgot {services().logins.reset()} wrong passwords")
