"""What ``tokens import`` prints, for people and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from app.cli import output
from app.core.arrivals import Fate, Row
from app.core.copies import TokenCopy
from app.core.durability import WARNINGS, Durability
from app.core.importer import Counts, Options, Report
from app.core.text import counted, visible

_MAX_TOLD = 20
_LEFT_OUT = "left out, because they differ from what is here"


class ImportReport:
    """Prints what becomes of a file: for people as it happens, in JSON as one object at the end."""

    def __init__(self, options: Options, *, as_json: bool) -> None:
        self._options = options
        self.as_json = as_json
        self._problems: list[tuple[int, str]] = []
        self._created: list[dict[str, str]] = []
        self.imported = 0

    def name(self, report: Report) -> None:
        """Name the lines that have problems, at most 20 of them if they prevent the import."""
        self._problems = report.problems
        if self.as_json:
            return
        shown = self._problems if self._options.keep_going else self._problems[:_MAX_TOLD]
        for number, problem in shown:
            click.echo(visible(f"line {number}: {problem}"), err=True)
        if left := len(self._problems) - len(shown):
            click.echo(f"and {counted(left, 'more line')}", err=True)

    def note(self, imported: Sequence[Row]) -> None:
        """Count rows that were written, and name the tokens of existing keys."""
        self.imported += len(imported)
        for row in imported:
            if isinstance(row.copy, TokenCopy) and row.unique == "key":
                self._note_key(row.copy.token.id, row.name)

    def _note_key(self, token_id: str, name: str) -> None:
        if self.as_json:
            self._created.append({"id": token_id, "name": name})
        else:
            click.echo(f"{token_id}\t{visible(name)}")

    def not_imported(self, counts: Counts, why: str) -> None:
        """Print how many rows have each fate, and that none was imported."""
        self._sum_up(counts, why, new="to import", durability=None)

    def done(self, counts: Counts, durability: Durability | None) -> None:
        """Print how many rows have each fate; a *durability* of None is that of no change, or of some."""
        self._sum_up(counts, "", new=Fate.NEW, durability=durability)
        if warning := WARNINGS.get(durability) if durability else None:
            click.echo(f"{warning}.", err=True)

    def _sum_up(self, counts: Counts, more: str, *, new: str, durability: Durability | None) -> None:
        if self.as_json:
            output.json_line(self._described(counts, durability))
            return
        for (noun, fate), count in sorted(counts.items()):
            click.echo(f"{noun} {self._word(fate, new)}: {count}", err=True)
        if more:
            click.echo(more, err=True)

    def _word(self, fate: Fate, new: str) -> str:
        if fate is Fate.NEW:
            return new
        is_left_out = self._options.skip_existing or self._options.keep_going
        return _LEFT_OUT if fate is Fate.TAKEN and is_left_out else fate

    def _described(self, counts: Counts, durability: Durability | None) -> dict[str, Any]:
        by_noun: dict[str, dict[str, int]] = {}
        for (noun, fate), count in sorted(counts.items()):
            by_noun.setdefault(noun.replace(" ", "_"), {})[fate.name.lower()] = count
        return {
            "imported": self.imported,
            "counts": by_noun,
            "problems": [{"line": number, "problem": problem} for number, problem in self._problems],
            "created": self._created,
            "durability": durability and durability.value,
        }
