"""Progress of a search through many tokens, for a person who waits for it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import chain

import click

from app.cli import output
from app.core.listing import NEWEST_FIRST, Order
from app.core.search import Found
from app.core.tokens import Token

# A search through fewer takes less than a moment.
_MANY = 10_000
# On a terminal the bar makes room for the first table.
_ROWS = 1000


def watched(pages: Iterator[Found], order: Order) -> Iterator[Token]:
    """Yield the tokens of *pages*; show on standard error, if that is a terminal, how far the search is.

    Only a search from the newest token to the oldest tells that.
    """
    first = next(pages)
    is_shown = order == NEWEST_FIRST and first.total >= _MANY and sys.stderr.isatty()
    kept: list[Token] = []
    with click.progressbar(
        length=first.total, label="Searching", file=sys.stderr, hidden=not is_shown
    ) as bar:
        for found in chain([first], pages):
            bar.update((found.searched or 0) - bar.pos if is_shown else 0)
            if not (is_shown and output.is_terminal()):
                yield from found.tokens
                continue
            kept += found.tokens
            if len(kept) >= _ROWS:
                break
    yield from kept
    for found in pages:
        yield from found.tokens
