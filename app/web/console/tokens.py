"""The table of tokens: all of them, those that match a filter, or those that ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from flask import request

from app.core import ended, listing as lists
from app.core.ended import FoundEnded
from app.core.fields import InvalidFieldsError
from app.core.listing import Filter, Order
from app.core.search import Found, InvalidQueryError, may_be_secret
from app.core.standing import Standing, standing
from app.core.tokens import Token
from app.core.usage import Usage
from app.pauses import paced
from app.services import services
from app.web import listing, parameters
from app.web.console.bars import Bars, bars
from app.web.console.blueprint import bp
from app.web.console.rendering import Shown, doubt_of_all, render

FILTERS = ("q", "status", "host", "email", "comment")
_PARAMETERS = (*FILTERS, "sort", "limit", "cursor")
_MAX_TO_COUNT = 10_000


class Row(NamedTuple):
    """A token in the table, and the *name* that leads to it and no other one on the page."""

    token: Token
    name: str
    standing: Standing
    bars: Bars


@bp.get("/")
def index() -> Shown:
    """Show all tokens, those that match the filter, or those that ended."""
    sent = {name: text for name in _PARAMETERS if (text := request.args.get(name, "").strip())}
    try:
        parameters.refuse_repeated(_PARAMETERS)
        is_ended = listing.wants_ended(sent)
        return _show_ended(sent) if is_ended else _show(sent)
    except InvalidQueryError as error:
        return _refuse(sent | {"q": error.shown}, {"q": str(error)})
    except InvalidFieldsError as error:
        return _refuse(sent, error.problems)


def _show(sent: Mapping[str, str]) -> str:
    catalog, now_s = services().catalog, services().registry.now_s
    wanted, order = listing.wanted(sent, services().settings.token_prefix), listing.order(sent)
    start = sent.get("cursor") or _older_cursor(wanted, order)
    found = catalog.listed(wanted, order, start, parameters.limit(sent))
    is_first = wanted == lists.ALL and not start
    more = _notices(found) if is_first else {"disk": request.args.get("disk")}
    rows = [*_rows(found.tokens, catalog.usages(found.tokens, now_s), now_s)]
    shown: dict[str, Any] = {"wanted": wanted, "order": order, "start": start, "rows": rows}
    return _page("index.html", sent, now_s, found=found, **shown, **more)


def _show_ended(sent: Mapping[str, str]) -> str:
    sent = {name: text for name, text in sent.items() if name != "sort"}  # they have one order
    start = listing.ended_cursor(sent) or _older_cursor_of_ended()
    found = services().catalog.ended(sent.get("q", ""), start, parameters.limit(sent))
    return _page("ended.html", sent, services().registry.now_s, found=found, start=start)


def _page(
    template: str, sent: Mapping[str, str], now_s: int, *, found: Found | FoundEnded, **context: Any
) -> str:
    kept = {name: text for name, text in sent.items() if name != "cursor"}
    is_filtered = any(name in sent for name in FILTERS)
    return render(template, now_s, sent=kept, found=found, problems={}, is_filtered=is_filtered, **context)


def _refuse(sent: Mapping[str, str], problems: Mapping[str, str]) -> Shown:
    """Show the filter again, with what is wrong beside it, and without what may be a secret."""
    prefix = services().settings.token_prefix
    shown = {name: text for name, text in sent.items() if not may_be_secret(text, prefix)}
    return render("index.html", sent=shown, problems=problems, found=None, is_filtered=True), 400


def _rows(tokens: Sequence[Token], usages: Sequence[Usage], now_s: int) -> Iterator[Row]:
    counts = Counter(token.id for token in tokens)
    for token, usage in paced(zip(tokens, usages, strict=True)):
        is_clear = not token.fault and counts[token.id] == 1
        yield Row(token, token.id if is_clear else token.digest, standing(token, now_s, usage), bars(usage))


def _notices(found: Found) -> dict[str, Any]:
    """Return what the first page says of all tokens."""
    old = services().catalog.count_old_peppers() if found.total <= _MAX_TO_COUNT else None
    return {"old_peppers": old, "disk": request.args.get("disk") or doubt_of_all()}


def _older_cursor(wanted: Filter, order: Order) -> str | None:
    """Return where an address of an older version begins, with ``page`` or ``from``, None if nowhere."""
    start, number = request.args.get("from", ""), listing.page_number(request.args)
    if number > 1 and wanted == lists.ALL:
        first = next(iter(services().catalog.page(number).tokens), None)
        start = f"{first.id}{first.digest}" if first else ""
    with suppress(InvalidFieldsError):
        return start if start and wanted.position(order, start) else None
    return None


def _older_cursor_of_ended() -> str | None:
    start = request.args.get("from", "")
    return start if ended.CURSOR.fullmatch(start) else None
