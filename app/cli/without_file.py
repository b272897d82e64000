"""Commands that go on if TOKENS_FILE is not valid: a leaked secret can't wait until it is corrected."""

from __future__ import annotations

import os
import sys
from dataclasses import replace

import click

from app import settings
from app.cli.audit import audit
from app.cli.groups import logins, tokens
from app.core.declared import Declarations
from app.core.text import visible
from app.settings import InvalidSettingsError, Settings

_FILE = "TOKENS_FILE"
# Not flask run, which is the service; config and doctor report the problems and exit with 1.
_COMMANDS = {tokens.name, logins.name, audit.name, "shell"}
_WARNING = (
    f"Warning: {_FILE} is not valid. Commands that do not need it go on, but the service neither starts nor "
    "reloads with it. Correct the file; flask doctor shows whether it is valid:"
)


def settings_without_file(error: InvalidSettingsError) -> Settings | None:
    """Print a warning and return the settings without TOKENS_FILE, if nothing else is wrong.

    Returns None for programs and commands that do not go on.
    """
    goes_on = os.environ.get("FLASK_RUN_FROM_CLI") == "true" and not _COMMANDS.isdisjoint(sys.argv)
    if not goes_on or {name for name, _ in error.problems} != {_FILE}:
        return None
    found = settings.read(without={_FILE, f"{_FILE}_PRUNE"})
    problems = (visible(problem) for _, problem in error.problems)
    click.echo("\n  ".join([_WARNING, *problems]), err=True)
    return replace(found, tokens_file=Declarations(is_left_out=True))
