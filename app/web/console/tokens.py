"""The table of tokens: all of them, those that match a search, or those that ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import request

from app.core.search import InvalidQueryError
from app.services import services
from app.web import listing
from app.web.console.blueprint import bp
from app.web.console.rendering import doubt_of_all, render

_MAX_TO_COUNT = 10_000


@bp.get("/")
def index() -> str:
    """Show all tokens, or those that match the search, or that ended."""
    catalog, typed = services().catalog, request.args.get("q", "").strip()
    if listing.wants_ended(request.args):
        return _found("ended.html", catalog.ended, typed)
    if typed:
        return _found("search.html", catalog.search, typed)
    page = catalog.page(listing.page_number(request.args))
    old = catalog.count_old_peppers() if page.total <= _MAX_TO_COUNT else None
    disk = request.args.get("disk") or doubt_of_all()
    return render("index.html", page=page, old_peppers=old, disk=disk)


def _found(template: str, search: Callable[[str, str | None], Any], typed: str) -> str:
    try:
        found = search(typed, request.args.get("from"))
    except InvalidQueryError as error:
        return render(template, typed=error.shown, problem=str(error))
    return render(template, typed=typed, found=found)
