"""``flask audit``: who changed what, the newest first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import click

from app.cli import arguments, output
from app.cli.groups import command
from app.core import durations, moments
from app.core.audit import Action, Entry, Wanted, every, token_id
from app.core.fields import InvalidFieldsError
from app.core.text import visible
from app.services import services

_DONE: Mapping[str, str] = {
    Action.CREATE: "created",
    Action.EDIT: "edited",
    Action.ENABLE: "enabled",
    Action.DISABLE: "disabled",
    Action.ROTATE: "rotated",
    Action.RETIRE: "ended a replaced secret of",
    Action.DELETE: "deleted",
    Action.LOGIN_REFUSED: "was refused to sign in, after too many wrong passwords",
}
# What the action says already, and two digests, which tell a person nothing; JSON has them.
_UNTOLD: Mapping[str, str] = {Action.ENABLE: "enabled", Action.DISABLE: "enabled"}


@command("audit")
@click.option(
    "--token", metavar="TOKEN", help="Those of the token with this id or SHA-256, also after it was deleted."
)
@click.option("--since", metavar="DURATION|MOMENT", help="Those of the last 7d, 12h, … or since 2030-01-31.")
@click.option("--actor", help="Those of one operator, user or holder.")
@click.option("--action", type=click.Choice([*map(str, Action)]), help="Those of one action.")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many; by default all.")
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
    way = f"{entry.via}, {entry.address}" if entry.address else entry.via
    token = f" token {entry.token_id}" if entry.token_id else ""
    changes = "; ".join(_changes(entry))
    return f"{entry.actor or 'someone'} ({way}) {_DONE.get(entry.action, entry.action)}{token}" + (
        f": {changes}" if changes else ""
    )


def _changes(entry: Entry) -> Iterator[str]:
    """Yield what became of each field: a token that was created or deleted has one value of each."""
    for name, (old, new) in entry.changes().items():
        if name in {_UNTOLD.get(entry.action), "sha256"}:
            continue
        if entry.action == Action.CREATE:
            yield f"{name} {_text(new)}"
        elif entry.action == Action.DELETE:
            yield f"{name} {_text(old)}"
        else:
            yield f"{name} from {_text(old)} to {_text(new)}"


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return f"{value}".lower()
    if isinstance(value, list):
        return ",".join(value) or "none"
    return "none" if value in {None, ""} else f"{value}"
