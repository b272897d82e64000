"""The rows in which commands list tokens: a table on a terminal, otherwise columns separated by tabs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice

import click

from app.cli import output, tables
from app.cli.tables import Cell, Column
from app.core.durations import SHORT, distance
from app.core.ended import EndedToken, Ending
from app.core.moments import rfc3339
from app.core.text import visible
from app.core.tokens import Status, Token

COLORS: dict[str, str] = {
    Status.ACTIVE: "green",
    Status.EXPIRING: "yellow",
    Status.NOT_YET_VALID: "cyan",
    Status.DISABLED: "red",
    Status.UNREADABLE: "magenta",
    Ending.EXPIRED: "yellow",
    Ending.DELETED: "red",
    Ending.REPLACED: "cyan",
}
NEVER = "never"
_NO_ROOM = "No room here for {}; a wider terminal or --json shows them."
# Each has its own widths, so that a terminal shows the first of a million tokens at once.
_ROWS = 1000

_TOKENS = (
    *(Column("ID", is_cut=False), Column("STATUS", is_cut=False), Column("EXPIRES", is_cut=False)),
    *(Column("LAST USED", is_cut=False), Column("HOSTS"), Column("EMAIL"), Column("COMMENT")),
)
_ENDED = (
    *(Column("ID", is_cut=False), Column("ENDED", is_cut=False), Column("WHEN", is_cut=False)),
    *(Column("HOSTS"), Column("EMAIL"), Column("COMMENT")),
)


def print_tokens(found: Iterable[Token], now_s: int, *, as_json: bool) -> None:
    """Print tokens, as JSON with all that the API tells of them."""
    if as_json:
        _print_json(token.described(now_s) for token in found)
    elif output.is_terminal():
        print_rows(_TOKENS, (_cells(token, now_s) for token in found), "No tokens.")
    else:
        _print_texts(_of_token(token, now_s) for token in found)


def print_ended(found: Iterable[EndedToken], now_s: int, *, as_json: bool) -> None:
    """Print tokens that ended, as JSON with all that the API tells of them."""
    if as_json:
        _print_json(token.described() for token in found)
    elif output.is_terminal():
        print_rows(_ENDED, (_ended_cells(token, now_s) for token in found), "No ended tokens.")
    else:
        _print_texts(map(_of_ended, found))


def print_rows(columns: Sequence[Column], rows: Iterable[Sequence[Cell]], otherwise: str = "") -> None:
    """Print a table on a terminal, or *otherwise* if it is empty; elsewhere only the texts of the rows."""
    if not output.is_terminal():
        _print_texts([cell.text for cell in row] for row in rows)
        return
    remaining, is_empty, left_out = iter(rows), True, dict[str, None]()
    while some := [*islice(remaining, _ROWS)]:
        is_empty = False
        table = tables.table(columns, some)
        left_out |= dict.fromkeys(table.left_out)
        for line in table.lines:
            click.echo(line)
    if left_out:
        output.aside(_NO_ROOM.format(", ".join(left_out)))
    if is_empty:
        output.aside(otherwise)


def _print_json(found: Iterable[dict[str, object]]) -> None:
    for shown in found:
        output.json_line(shown)


def _print_texts(rows: Iterable[Sequence[str]]) -> None:
    for texts in rows:
        click.echo("\t".join(texts))


def _cells(token: Token, now_s: int) -> Sequence[Cell]:
    status = token.status(now_s)
    return (
        Cell(_name(token)),
        Cell(status, COLORS[status]),
        Cell(when(token.expires_at, now_s)),
        Cell(when(past(token.last_used_at, now_s), now_s)),
        *map(Cell, _texts(token)),
    )


def _ended_cells(token: EndedToken, now_s: int) -> Sequence[Cell]:
    ended = Cell(token.ending, COLORS[token.ending])
    return (Cell(token.id), ended, Cell(when(past(token.ended_at, now_s), now_s)), *map(Cell, _texts(token)))


def when(seconds: int | None, now_s: int) -> str:
    """Return the distance of a time from now in few letters."""
    return NEVER if seconds is None else distance(seconds - now_s, SHORT)


def past(seconds: int | None, now_s: int) -> int | None:
    """Return a time in the past, which may come from a clock that is ahead."""
    return None if seconds is None else min(seconds, now_s)


def _of_token(token: Token, now_s: int) -> Sequence[str]:
    """Return name, status, expiry, hosts, email, comment."""
    return (_name(token), token.status(now_s), rfc3339(token.expires_at) or NEVER, *_texts(token))


def _of_ended(token: EndedToken) -> Sequence[str]:
    """Return id, how and when it ended, hosts, email, comment."""
    return (token.id, token.ending, rfc3339(token.ended_at), *_texts(token))


def _name(token: Token) -> str:
    """Return the id; the id of a record that can't be read may be that of another one too."""
    return visible(token.digest if token.fault else token.id)


def _texts(token: Token | EndedToken) -> list[str]:
    return [visible(text) for text in (",".join(token.hosts), token.email, token.comment)]
