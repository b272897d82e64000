"""The commands that copy all tokens from one database to another, and that import existing keys."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import IO, Any, BinaryIO

import click
from click.exceptions import Exit

from app.cli import arguments, lines, output
from app.cli.actors import actor
from app.cli.bar import progress
from app.cli.complaints import Code
from app.cli.groups import tokens
from app.cli.import_report import ImportReport
from app.core import copy_parsing
from app.core.arrivals import Row
from app.core.copy_values import Line, LineError
from app.core.errors import StoreUnavailableError
from app.core.importer import Options, Report, left_out
from app.core.text import counted, visible
from app.core.tokens import MIN_SECRET_CHARS, Token
from app.services import services

FORMATS = ("jsonl", "csv", "htpasswd")
_AGAIN = "Repeat the command to import the others."
_FOREIGN_PEPPER = (
    "its tokens were made with another PEPPER, so that no client could use them here. Set that one as "
    "PEPPER, or as PEPPER_PREVIOUS beside the PEPPER of the tokens that are here"
)
Rows = Callable[[Iterator[Line]], Iterator[Row]]


@tokens.command("export")
@click.argument("file", default=lines.STANDARD)
@click.option(
    "--json", "as_json", is_flag=True, help="Print a summary in JSON, on standard error if FILE is -."
)
def export(file: str, *, as_json: bool) -> None:
    """Write all tokens to FILE, or to standard output, for tokens import.

    One JSON object per line: records, redirects of replaced secrets, and tokens that ended. There is no
    secret in it; as in a copy of Redis, short old secrets could be guessed by whoever has PEPPER too.
    """
    is_standard, skipped = file == lines.STANDARD, _Skipped()
    with nullcontext(sys.stdout) if is_standard else lines.replaced(file) as out:
        exported = _write(out, skipped, is_shown=not (is_standard and output.is_terminal()))
    skipped.tell(exported, as_json=as_json, err=is_standard)
    if skipped.problems:
        raise Exit(Code.REFUSED)


class _Skipped:
    """Collects the tokens that are not exported, and tells of them when the bar is gone."""

    def __init__(self) -> None:
        self.problems: list[tuple[str, str]] = []

    def __call__(self, token: Token, why: str) -> None:
        self.problems.append((token.digest, why))

    def tell(self, exported: int, *, as_json: bool, err: bool) -> None:
        """Print the tokens; in JSON also how many lines were *exported*, on standard error if *err*."""
        if as_json:
            named = [{"sha256": digest, "problem": why} for digest, why in self.problems]
            click.echo(json.dumps({"exported": exported, "problems": named}), err=err)
            return
        for digest, why in self.problems:
            click.echo(f"not exported: {digest}: {why}", err=True)
        if self.problems:
            click.echo(f"{len(self.problems)} not exported", err=True)


def _write(out: IO[str], skipped: _Skipped, *, is_shown: bool) -> int:
    """Write the lines to *out*, with a bar if *is_shown*; return how many follow the first one."""
    exporter, now_s, written = services().moving.exporter, services().registry.now_s, -1
    with progress(exporter.count() if is_shown else 0, "exporting") as advance:
        for line in exporter.lines(now_s, skipped):
            out.write(line)
            advance(1)
            written += 1
    out.flush()
    return written


@tokens.command("import")
@click.argument("file", default=lines.STANDARD)
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    help="Format of FILE; by default that of its file name extension.",
)
@click.option("--dry-run", is_flag=True, help="Check the file and say what would happen; change nothing.")
@click.option("--keep-going", is_flag=True, help="Skip lines that can't be imported, and name them.")
@click.option("--skip-existing", is_flag=True, help="Skip tokens that exist here already and differ.")
@click.option(
    "--restore-ended",
    is_flag=True,
    help="Also restore tokens and secrets that were deleted or replaced here.",
)
@click.option("--hosts", help="Hosts for keys whose line has none, such as 'a.example,*.b.example'.")
@arguments.ttl
@click.option("--weak", is_flag=True, help=f"Accept keys of fewer than {MIN_SECRET_CHARS} characters.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object with counts and problems.")
def import_(file: str, form: str | None, *, dry_run: bool, weak: bool, as_json: bool, **options: Any) -> None:
    """Create the tokens that tokens export wrote to FILE, or those of a list of names and keys.

    A list is CSV, whose first line names the columns (key, and name or any field of a token), or lines of
    name:key. By default either all lines are imported or none; an import that was interrupted can be
    repeated. FILE is - for standard input.
    """
    typed = arguments.given({name: options.pop(name) for name in ("hosts", "ttl")})
    with lines.opened(file) as source:
        rows = _rows(form or _format(file), typed, weak=weak)
        wanted = Options(**options)
        _import(source, rows, wanted, ImportReport(wanted, as_json=as_json), dry_run=dry_run)


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


def _import(source: BinaryIO, rows: Rows, options: Options, printed: ImportReport, *, dry_run: bool) -> None:
    """Check the file, then write what is new unless something prevents that."""
    importer, now_s = services().moving.importer, services().registry.now_s
    try:
        with _read(source, rows, "checking") as found:
            report = importer.check(found, options, now_s)
    except LineError as error:
        raise click.ClickException(f"{error}. Nothing was imported.") from None
    printed.name(report)
    code = (Code.CONFLICT if report.is_conflict else Code.REFUSED) if report.problems else Code.DONE
    if dry_run:
        printed.not_imported(report.counts, "This was a dry run; nothing was imported.")
    elif report.problems and not options.keep_going:
        printed.not_imported(report.counts, "Nothing was imported.")
    else:
        code = _run(source, rows, options, report, printed) or code
    raise Exit(code)


def _run(source: BinaryIO, rows: Rows, options: Options, report: Report, printed: ImportReport) -> Code:
    """Write what is new; return UNAVAILABLE if Redis stopped responding, CONFLICT if tokens have appeared."""
    importer, now_s = services().moving.importer, services().registry.now_s
    is_shown = rows is _copies or not output.is_terminal()
    try:
        with _read(source, rows, "importing", is_shown=is_shown) as found:
            counts = importer.run(actor(), found, options, now_s, printed.note)
    except StoreUnavailableError as error:
        if printed.as_json:
            printed.done(report.counts, None)
        so_far = f"{counted(printed.imported, 'line')} imported"
        click.echo(f"Error: {visible(str(error))}. {so_far}. {_AGAIN}", err=True)
        return Code.UNAVAILABLE
    printed.done(counts, services().registry.durability() if printed.imported else None)
    if late := left_out(counts) - left_out(report.counts):
        appeared = f"for {counted(late, 'line')}, other tokens have appeared meanwhile"
        click.echo(f"Error: {appeared}. {_AGAIN}", err=True)
        return Code.CONFLICT
    return Code.DONE


@contextmanager
def _read(source: BinaryIO, rows: Rows, label: str, *, is_shown: bool = True) -> Iterator[Iterator[Row]]:
    """Yield the rows of *source* from its beginning; show how far they are read if *is_shown*."""
    size = source.seek(0, os.SEEK_END) if is_shown else 0
    with progress(size, label) as advance:
        yield rows(_counted(lines.lines(source), advance))


def _counted(found: Iterator[Line], advance: Callable[[int], None]) -> Iterator[Line]:
    for line in found:
        advance(len(line.text))
        yield line
