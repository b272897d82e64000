"""The commands that copy all tokens from one database to another, and that import existing keys."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import IO, Any, BinaryIO

import click
from click.exceptions import Exit

from app.cli import arguments, lines
from app.cli.actors import actor
from app.cli.bar import progress
from app.cli.complaints import Code
from app.cli.groups import tokens
from app.core import copy_parsing
from app.core.arrivals import Fate, Row
from app.core.copies import TokenCopy
from app.core.copy_values import Line, LineError
from app.core.durability import WARNINGS
from app.core.errors import StoreUnavailableError
from app.core.importer import Counts, Options, Report, left_out
from app.core.text import visible
from app.core.tokens import MIN_SECRET_CHARS, Token
from app.services import services

FORMATS = ("jsonl", "csv", "htpasswd")
_MAX_TOLD = 20
_AGAIN = "Repeat the command to import the others."
_FOREIGN_PEPPER = (
    "its tokens were made with another PEPPER, so that no client could use them here. Set that one as "
    "PEPPER, or as PEPPER_PREVIOUS beside the PEPPER of the tokens that are here"
)
Rows = Callable[[Iterator[Line]], Iterator[Row]]


@tokens.command("export")
@click.argument("file", default=lines.STANDARD)
def export(file: str) -> None:
    """Write all tokens to FILE, or to standard output, for tokens import.

    One JSON object per line: records, redirects of replaced secrets, and tokens that ended. There is no
    secret in it; as in a copy of Redis, short old secrets could be guessed by whoever has PEPPER too.
    """
    skipped = _Skipped()
    with lines.replaced(file) if file != lines.STANDARD else nullcontext(sys.stdout) as out:
        _write(out, skipped)
    if skipped.count:
        click.echo(f"{skipped.count} not exported", err=True)
        raise Exit(Code.REFUSED)


class _Skipped:
    """Names tokens that are not exported."""

    count = 0

    def __call__(self, token: Token, why: str) -> None:
        self.count += 1
        click.echo(f"not exported: {token.digest}: {why}", err=True)


def _write(out: IO[str], skipped: _Skipped) -> None:
    exporter, now_s = services().moving.exporter, services().registry.now_s
    with progress(exporter.count(), "exporting") as advance:
        for line in exporter.lines(now_s, skipped):
            out.write(line)
            advance(1)
    out.flush()


@tokens.command("import")
@click.argument("file", default=lines.STANDARD)
@click.option(
    "--format", "form", type=click.Choice(FORMATS), help="By default what the name of FILE ends with."
)
@click.option("--dry-run", is_flag=True, help="Check the file and say what would happen; change nothing.")
@click.option("--keep-going", is_flag=True, help="Leave out lines that can't be imported, and name them.")
@click.option("--skip-existing", is_flag=True, help="Leave out tokens that are here and differ.")
@click.option("--restore-ended", is_flag=True, help="Bring back what was deleted or replaced here, too.")
@click.option("--hosts", help="Hosts of keys whose line has none, such as 'a.example,*.b.example'.")
@arguments.ttl
@click.option("--weak", is_flag=True, help=f"Accept keys of fewer than {MIN_SECRET_CHARS} characters.")
def import_(file: str, form: str | None, *, dry_run: bool, weak: bool, **options: Any) -> None:
    """Create the tokens that tokens export wrote to FILE, or those of a list of names and keys.

    A list is CSV, whose first line names the columns (key, and name or any field of a token), or lines of
    name:key. By default either all lines are imported or none; an import that was interrupted can be
    repeated. FILE is - for standard input.
    """
    typed = arguments.given({name: options.pop(name) for name in ("hosts", "ttl")})
    with lines.opened(file) as source:
        rows = _rows(form or _format(file), typed, weak=weak)
        _import(source, rows, Options(**options), dry_run=dry_run)


def _format(name: str) -> str:
    return next((form for form in FORMATS if name.lower().endswith(form)), FORMATS[0])


def _rows(form: str, typed: Mapping[str, str], *, weak: bool) -> Rows:
    """Return the function that reads the rows of a file of that format."""
    if form == "jsonl":
        if typed or weak:
            raise click.UsageError("--hosts, --ttl and --weak are for lists of keys: csv and htpasswd")
        return _copies
    return getattr(services().moving.key_lists(typed=typed, allow_weak=weak), form)  # type: ignore[no-any-return]


def _copies(source: Iterator[Line]) -> Iterator[Row]:
    try:
        peppers = copy_parsing.read_header(next(source, Line(1, "")))
    except LineError as error:
        raise LineError(f"line 1: {error}") from None
    if not services().moving.importer.knows(peppers):
        raise LineError(f"line 1: {_FOREIGN_PEPPER}")
    return copy_parsing.rows(source, peppers)


def _import(source: BinaryIO, rows: Rows, options: Options, *, dry_run: bool) -> None:
    """Check the file, then write what is new unless something prevents that."""
    importer, now_s = services().moving.importer, services().registry.now_s
    try:
        with _read(source, rows, "checking") as found:
            report = importer.check(found, options, now_s)
    except LineError as error:
        raise click.ClickException(f"{error}. Nothing was imported.") from None
    _name(report, all_of_them=options.keep_going)
    code = (Code.CONFLICT if report.is_conflict else Code.REFUSED) if report.problems else Code.DONE
    if dry_run:
        _sum_up(report.counts, "This was a dry run; nothing was imported.", new="to import")
    elif report.problems and not options.keep_going:
        _sum_up(report.counts, "Nothing was imported.", new="to import")
    else:
        code = _run(source, rows, options, report) or code
    raise Exit(code)


def _run(source: BinaryIO, rows: Rows, options: Options, report: Report) -> Code:
    """Write what is new; return UNAVAILABLE if Redis stopped responding, CONFLICT if tokens have appeared."""
    done = Counter[str]()

    def tell(imported: Sequence[Row]) -> None:
        done["rows"] += len(imported)
        for row in imported:
            if isinstance(row.copy, TokenCopy) and row.unique == "key":
                click.echo(f"{row.copy.token.id}\t{visible(row.name)}")

    try:
        with _read(source, rows, "importing") as found:
            counts = services().moving.importer.run(actor(), found, options, services().registry.now_s, tell)
    except StoreUnavailableError as error:
        click.echo(f"Error: {visible(str(error))}. {done['rows']} lines were imported. {_AGAIN}", err=True)
        return Code.UNAVAILABLE
    _sum_up(counts, WARNINGS.get(services().registry.durability(), ""))
    if late := left_out(counts) - left_out(report.counts):
        click.echo(f"Error: for {late} lines, other tokens have appeared meanwhile. {_AGAIN}", err=True)
        return Code.CONFLICT
    return Code.DONE


@contextmanager
def _read(source: BinaryIO, rows: Rows, label: str) -> Iterator[Iterator[Row]]:
    """Yield the rows of *source* from its beginning, and show how far they are read."""
    size = source.seek(0, os.SEEK_END)
    with progress(size, label) as advance:
        yield rows(_counted(lines.lines(source), advance))


def _counted(found: Iterator[Line], advance: Callable[[int], None]) -> Iterator[Line]:
    for line in found:
        advance(len(line.text))
        yield line


def _name(report: Report, *, all_of_them: bool) -> None:
    shown = report.problems if all_of_them else report.problems[:_MAX_TOLD]
    for number, problem in shown:
        click.echo(visible(f"line {number}: {problem}"), err=True)
    if left := len(report.problems) - len(shown):
        click.echo(f"and {left} lines more", err=True)


def _sum_up(counts: Counts, more: str, new: str = Fate.NEW) -> None:
    """Print how many rows have each fate, and what to call the *new* ones."""
    for (noun, fate), count in sorted(counts.items()):
        click.echo(f"{noun} {new if fate is Fate.NEW else fate}: {count}", err=True)
    if more:
        click.echo(more, err=True)
