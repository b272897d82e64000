"""Tables that fit a terminal."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from typing import NamedTuple
from unicodedata import category, east_asian_width

import click

_GAP = "  "
_MIN_CUT = 8
_INVISIBLE = {"Mn", "Me", "Cf"}


class Cell(NamedTuple):
    """A text without control characters, in a *color* that click knows."""

    text: str
    color: str | None = None


class Column(NamedTuple):
    """The title of a column, and whether its texts may be cut."""

    title: str
    is_cut: bool = True


def width(text: str) -> int:
    """Return how many columns of a terminal *text* takes: two for a wide character, none for an accent."""
    if text.isascii():
        return len(text)
    return sum(map(_width, text))


def _width(char: str) -> int:
    if category(char) in _INVISIBLE:
        return 0
    return 2 if east_asian_width(char) in "WF" else 1


def cut(text: str, most: int) -> str:
    """Return *text*, or as much of it as *most* columns hold, with an ellipsis for the rest."""
    if width(text) <= most:
        return text
    end = room = 0
    for end, char in enumerate(text):  # noqa: B007 - where it stops
        room += _width(char)
        if room >= most:
            break
    return f"{text[:end]}…"


class Table(NamedTuple):
    """The lines of a table, and the titles of the columns for which there was no room."""

    lines: Iterator[str]
    left_out: Sequence[str]


def table(columns: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> Table:
    """Return a table that fits the terminal.

    Columns that are blank in all rows are left out, and so are the last ones if there is no room for them.
    """
    kept = [n for n in range(len(columns)) if any(row[n].text for row in rows)]
    widths = [max(width(columns[n].title), *(width(row[n].text) for row in rows)) for n in kept]
    fitted = _fitted(widths, [columns[n].is_cut for n in kept], shutil.get_terminal_size().columns)
    left_out = [columns[n].title for n in kept[len(fitted) :]]
    kept = kept[: len(fitted)]
    titles = [Cell(column.title, "bright_black") for column in columns]
    return Table((_line([row[n] for n in kept], fitted) for row in [titles, *rows]), left_out)


def _fitted(widths: Sequence[int], are_cut: Sequence[bool], room: int) -> list[int]:
    """Return the widths of as many columns as fit *room*, of which the widest are made narrower."""
    for number in range(len(widths), 1, -1):
        left = room - len(_GAP) * (number - 1)
        for most in range(max(*widths, _MIN_CUT), _MIN_CUT - 1, -1):
            fitted = [
                min(w, most) if is_cut else w for w, is_cut in zip(widths[:number], are_cut, strict=False)
            ]
            if sum(fitted) <= left:
                return fitted
    return list(widths[:1])


def _line(cells: Sequence[Cell], widths: Sequence[int]) -> str:
    return _GAP.join(map(_padded, cells, widths)).rstrip(" ")


def _padded(cell: Cell, most: int) -> str:
    text = cut(cell.text, most)
    shown = click.style(text, fg=cell.color) if cell.color and text else text
    return shown + " " * (most - width(text))
