"""Secrets that commands read from standard input, because other users of the machine can see arguments."""

from __future__ import annotations

import sys
from collections.abc import Callable

import click

from app import origins
from app.core.tokens import MIN_SECRET_CHARS


def read(prompt: str) -> str:
    """Return standard input without one trailing line end; a terminal shows *prompt* and hides the reply.

    Raises ClickException if it is not text.
    """
    if sys.stdin.isatty():
        return str(click.prompt(prompt, hide_input=True, err=True))
    try:
        return origins.without_line_end(sys.stdin.read())
    except UnicodeDecodeError:
        raise click.ClickException("standard input is not UTF-8 text") from None


def existing_secret(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options ``--secret -``, which becomes the secret on standard input, and ``--weak``."""
    weak = f"Accept an existing secret of fewer than {MIN_SECRET_CHARS} characters."
    command = click.option("--weak", is_flag=True, help=weak)(command)
    dash = "- reads an existing secret from standard input, instead of generating one."
    return click.option("--secret", metavar="-", callback=_read_if_asked, help=dash)(command)


def _read_if_asked(_context: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    if value not in (None, "-"):
        raise click.BadParameter("takes only -, and the secret on standard input: others can see arguments")
    return read("Secret") if value else None
