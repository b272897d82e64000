"""The groups of commands ``flask tokens …`` and ``flask logins …``; modules of commands add theirs."""

from __future__ import annotations

import click
from flask.cli import AppGroup

from app.version import NAME, VERSION

tokens = AppGroup(
    "tokens",
    help="Create, list, change, rotate and delete tokens. TOKEN is an id or a SHA-256; - reads the token "
    "itself from standard input, because other users of the machine can see arguments.",
)
logins = AppGroup("logins", help="Manage sign-ins to the admin pages.")
for _group in (tokens, logins):
    click.version_option(VERSION, prog_name=NAME, message="%(prog)s %(version)s")(_group)
