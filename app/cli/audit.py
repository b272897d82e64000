"""``flask audit``: who changed what, the newest first."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

import click

from app.cli import arguments, output
from app.cli.groups import command
from app.core import audit_words, durations, moments
from app.core.audit import Action, Entry, Wanted, every, token_id
from app.core.fields import InvalidFieldsError
from app.core.text import visible
from app.services import services


@command("audit")
@click.option(
    "--token", metavar="TOKEN", help="Changes of the token with this id or SHA-256, even if it was deleted."
)
@click.option(
    "--since", metavar="DURATION|MOMENT", help="Changes of the last 7d, 12h, … or since 2030-01-31."
)
@click.option("--actor", help="Changes made by one operator, user or holder.")
@click.option("--action", type=click.Choice([*map(str, Action)]), help="Changes of one kind.")
@click.option("--limit", type=click.IntRange(min=1), help="Maximum number of entries; by default all.")
@arguments.as_json
def audit(*, limit: int | None, as_json: bool, **options: str | None) -> None:
    """List the entries of the audit log, newest first."""
    wanted = Wanted(
        token_id=_named(options["token"]),
        actor=options["actor"] or "",
        action=options["action"] or "",
        since_ms=1000 * _since(options["since"], services().registry.now_s),
    )
    entries = islice(every(services().audit, wanted), limit)
    if as_json:
        for entry in entries:
            output.json_line(entry.described())
    else:
        _print(entries)


def _named(typed: str | None) -> str:
    return "" if typed is None else token_id(typed, services().catalog.id_of)


def _since(typed: str | None, now_s: int) -> int:
    """Return the moment that *typed* names, or that so long ago, in seconds since the epoch; 0 for None."""
    if typed is None:
        return 0
    for parse in (lambda text: now_s - durations.parse(text), moments.parse):
        try:
            return max(parse(typed), 0)
        except ValueError:
            continue
    raise InvalidFieldsError({"since": f"a duration such as 7d, or a moment such as {moments.EXAMPLE}"})


def _print(entries: Iterable[Entry]) -> None:
    is_empty = True
    for entry in entries:
        is_empty = False
        moment = moments.rfc3339(entry.at_ms // 1000)
        sentence = output.wrapped(visible(_sentence(entry)), " " * (len(moment) + 2))
        click.echo(f"{click.style(moment, fg='bright_black')}  {sentence}")
    if is_empty:
        output.aside("No entries.")


def _sentence(entry: Entry) -> str:
    words = audit_words.told(entry)
    way = f"{entry.via}, {entry.address}" if entry.address else entry.via
    token = f" token {words.token_id}" if words.token_id else ""
    changes = "; ".join(map(str, words.changes))
    return f"{words.who} ({way}) {words.did}{token}{words.rest}" + (f": {changes}" if changes else "")
