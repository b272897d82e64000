"""``flask config``: the settings in effect, and where each one comes from."""

from __future__ import annotations

from dataclasses import Field, dataclass, fields
from typing import Any

import click

from app import origins
from app.cli import output, rows
from app.cli.groups import command
from app.cli.tables import Cell, Column
from app.core.text import visible
from app.origins import Origin
from app.services import services

_COLUMNS = (Column("SETTING", is_cut=False), Column("VALUE"), Column("FROM"))

_OF_THIS_SHELL = (
    "A service that runs may have been started with other settings; make run listens on PORT, unless BIND is "
    "in its environment."
)


@dataclass(frozen=True, slots=True)
class _Row:
    """A setting; the *value* of a secret is None."""

    name: str
    value: str | int | None
    is_set: bool
    origin: Origin

    def described(self) -> dict[str, Any]:
        """Return the data of the setting as JSON has it."""
        place, file = self.origin
        return {"value": self.value, "set": self.is_set, "from": place, "file": file or None}

    def cells(self) -> tuple[Cell, ...]:
        """Return the texts of the row."""
        secret = "set, not shown" if self.is_set else "not set"
        value = secret if self.value is None else f"{self.value}"
        value = value.lower() if isinstance(self.value, bool) else value
        place, file = self.origin
        origin = f"{self.name}_FILE={file} ({place})" if file else place
        return Cell(self.name), Cell(visible(value)), Cell(visible(origin))


@command("config")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object with all settings by name.")
def config(*, as_json: bool) -> None:
    """Show the settings in effect and where each comes from; of secrets only whether they are set.

    They are those of a service that is started from this shell. One that runs may have been started with
    others: make run listens on PORT, unless BIND is in its environment.
    """
    declared = {setting.name.upper(): setting for setting in fields(services().settings)}
    raw, found = origins.gather(), origins.origins(declared)
    settings = [_row(name, setting, raw, found[name]) for name, setting in declared.items()]
    if as_json:
        output.json_line({row.name: row.described() for row in settings})
    else:
        rows.print_rows(_COLUMNS, [row.cells() for row in settings])
        output.aside(_OF_THIS_SHELL)


def _row(name: str, setting: Field[Any], raw: dict[str, str], origin: Origin) -> _Row:
    """Return the row of a setting, with its value as it was written unless that is a text or a number."""
    is_set = origin.place != origins.DEFAULT
    value = getattr(services().settings, setting.name)
    if setting.metadata["secret"]:
        value = None
    elif not isinstance(value, str | int):
        value = raw.get(name) or setting.metadata["default"]
    return _Row(name, value, is_set, origin)
