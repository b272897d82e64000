"""Progress of a search through many tokens, for a person who waits for it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from app.cli import bar, output
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
    is_shown = order == NEWEST_FIRST and first.total >= _MANY and bar.is_visible()
    kept: list[Token] = []
    with bar.progress(first.total if is_shown else 0, "Searching") as advance:
        searched = 0
        for found in chain([first], pages):
            advance((found.searched or 0) - searched)
            searched = found.searched or 0
            if not (is_shown and output.is_terminal()):
                yield from found.tokens
                continue
            kept += found.tokens
            if len(kept) >= _ROWS:
                break
    yield from kept
    for found in pages:
        yield from found.tokens
