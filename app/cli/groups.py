"""The groups of commands ``flask tokens …`` and ``flask logins …``; modules of commands add theirs."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from typing import Any

import click
from flask.cli import AppGroup, with_appcontext

from app.cli.complaints import complaints
from app.version import NAME, VERSION


def _prepare(context: click.Context) -> None:
    """Turn colors off if the operator wants none, and print what the terminal can't show as escapes."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        context.color = False
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


class Command(click.Command):
    """A command that ends without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        _prepare(ctx)
        with complaints():
            return super().invoke(ctx)


class Group(Command, AppGroup):
    """A group of such commands."""


def command(name: str) -> Callable[[Callable[..., None]], click.Command]:
    """Make a function a command of its own, ``flask <name>``, beside the groups."""
    return lambda function: click.command(name, cls=Command)(with_appcontext(function))


tokens = Group(
    "tokens",
    help="Create, list, change, rotate and delete tokens. TOKEN is an id or a SHA-256; - reads the token "
    "itself from standard input, because other users of the machine can see arguments.",
)
logins = Group("logins", help="Manage sign-ins to the admin pages.")
for _group in (tokens, logins):
    click.version_option(VERSION, prog_name=NAME, message="%(prog)s %(version)s")(_group)
