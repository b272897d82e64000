"""The command ``flask doctor``: find what is wrong with an installation (docs/doctor.md)."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import click
from flask import Flask, current_app

from app.cli import groups
from app.cli.doctor import report
from app.cli.doctor.examination import Examination
from app.cli.doctor.visits import Door, Url, parse_connect_to
from app.services import services
from app.settings import InvalidSettingsError

_ERROR = "SETTINGS_ERROR"


class _Parsed(click.ParamType[Any]):
    """A parameter with a parser that raises ValueError."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name, self._parse = name, parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the parsed value, or end the command with what is wrong with it."""
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


_URL, _PLACE = _Parsed("url", Url.parse), _Parsed("host[:port]", parse_connect_to)


@groups.command("doctor")
@click.option("--url", type=_URL, help="The public address of a protected backend, or of this service.")
@click.option(
    "--connect-to",
    type=_PLACE,
    help="Address of the proxy, if the name in --url resolves to another machine.",
)
@click.option("-k", "--insecure", is_flag=True, help="Accept any certificate from the proxy.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as a list in JSON.")
def command(
    *,
    url: Url | None,
    connect_to: tuple[str, int | None] | None,
    insecure: bool,
    as_json: bool,
) -> None:
    """Find what is wrong with the settings, this machine, Redis and, with --url, the proxy in front.

    The exit status is 0 if nothing has to change, 1 after a warning and 3 after an error.
    """
    if not url and (connect_to or insecure):
        raise click.UsageError("--connect-to and --insecure need --url")
    done = Examination()
    done.machine()
    if error := current_app.config.get(_ERROR):
        done.invalid_settings(error)
    else:
        done.service(services())
        if url:
            done.entrance(services(), *_doors(url, connect_to, is_insecure=insecure))
    findings = done.findings
    click.echo(report.as_json(findings) if as_json else report.as_text(findings, done.summaries))
    click.get_current_context().exit(report.exit_status(findings))


def _doors(
    url: Url, connect_to: tuple[str, int | None] | None, *, is_insecure: bool
) -> tuple[Door, Door | None]:
    """Return where requests for *url* go, and those over plain http, if both have the usual ports."""
    door = Door(url, connect_to, is_insecure)
    is_usual = url.is_usual and not (connect_to and connect_to[1])
    return door, Door(url.plain(), connect_to) if url.scheme == "https" and is_usual else None


def without_settings(error: InvalidSettingsError) -> Flask:
    """Return an app that has only this command, if it is the one that runs; else exit with the message."""
    if os.environ.get("FLASK_RUN_FROM_CLI") != "true" or command.name not in sys.argv:
        sys.exit(str(error))
    app = Flask("doctor")
    app.config[_ERROR] = error
    app.cli.add_command(command)
    return app
