"""The commands for peppers and sign-ins."""

from __future__ import annotations

import click

from app.cli import arguments, output
from app.cli.groups import logins, tokens
from app.core.text import counted
from app.services import services


@tokens.command("old-peppers")
@arguments.as_json
def old_peppers(*, as_json: bool) -> None:
    """Print how many tokens have not been used with the current PEPPER since PEPPER_PREVIOUS was set."""
    count = services().catalog.count_old_peppers()
    output.result({"old_peppers": count}, f"{count}", as_json=as_json)


@tokens.command("forget-pepper")
@click.confirmation_option(prompt="Every token created with another PEPPER will be lost. Continue?")
@arguments.as_json
def forget_pepper(*, as_json: bool) -> None:
    """Accept the current PEPPER as the right one, whichever pepper tokens were created with."""
    services().registry.forget_peppers()
    output.result({"forgotten": True}, "forgot all peppers", as_json=as_json)


@logins.command("reset")
@arguments.as_json
def reset(*, as_json: bool) -> None:
    """Forget all wrong passwords, so that every operator may sign in again at once."""
    count = services().logins.reset()
    output.result({"forgotten": count}, f"forgot {counted(count, 'wrong password')}", as_json=as_json)
