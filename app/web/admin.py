"""The admin pages (docs/decisions/0004)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gevent
from flask import Blueprint, redirect, render_template, request, stream_template, url_for
from werkzeug.exceptions import HTTPException
from werkzeug.sansio.response import Response

from app.core.changes import Change, Issued
from app.core.durability import Durability
from app.core.errors import (
    AlreadyIssuedError,
    ConflictError,
    NoSuchTokenError,
    StoreUnavailableError,
    UnknownOutcomeError,
)
from app.core.fields import InvalidFieldsError
from app.core.search import InvalidQueryError
from app.core.tokens import Token
from app.services import services
from app.web import forms, listing
from app.web.actors import operator
from app.web.basic_auth import basic_auth
from app.web.messages import log_durability, why

bp = Blueprint("admin", __name__)

_MAX_TO_COUNT = 10_000
_PIECES_AT_ONCE = 64
_NOT_CREATED = "No token was created"

_SHOWN_AFTER_A_CHANGE = {Durability.UNCONFIRMED, Durability.NO_FILE}
_SHOWN_ON_THE_FIRST_PAGE = {Durability.NO_FILE, Durability.UNTOLD}  # these hold for every change

Shown = str | tuple[str, int]


@bp.before_request
@basic_auth.login_required  # type: ignore[untyped-decorator]
def _require_operator() -> None:
    """Require the operator's password for every page of this blueprint."""


@bp.before_request
def _require_form() -> None:
    if request.method == "POST":
        forms.require(request)


@bp.get("/")
def index() -> str:
    """Show all tokens and the form for a new one, or those that match the search, or that ended."""
    catalog, typed = services().catalog, request.args.get("q", "").strip()
    if listing.wants_ended(request.args):
        return _found("ended.html", catalog.ended, typed)
    if typed:
        return _found("search.html", catalog.search, typed)
    page = catalog.page(listing.page_number(request.args))
    old = catalog.count_old_peppers() if page.total <= _MAX_TO_COUNT else None
    disk = request.args.get("disk") or _shown_of(services().registry.durability(), _SHOWN_ON_THE_FIRST_PAGE)
    return _render("index.html", page=page, form=forms.new_idempotency_key(), old_peppers=old, disk=disk)


def _found(template: str, search: Callable[[str, str | None], Any], typed: str) -> str:
    try:
        found = search(typed, request.args.get("from"))
    except InvalidQueryError as error:
        return _render(template, typed=error.shown, problem=str(error))
    return _render(template, typed=typed, found=found)


@bp.get("/tokens/<token_id>")
def token_page(token_id: str) -> Shown:
    """Show one token, its usage and the actions on it."""
    return _token_page(services().catalog.find_public(token_id))


@bp.post("/create_token")
def create_token() -> Shown:
    """Create a token and show its secret, only this once."""
    try:
        typed = forms.typed(request.form, forms.IDEMPOTENCY_KEY)
        issued = services().registry.issue(operator(), typed, request.form.get(forms.IDEMPOTENCY_KEY))
    except InvalidFieldsError as error:
        return _form_again(error.problems), 400
    except AlreadyIssuedError as error:
        return _form_again({"": f"{error}. Send this form for another token."}), 409
    return _issued(issued)


@bp.post("/edit_token")
def edit_token() -> Shown | Response:
    """Change the submitted fields of a token and leave the others unchanged."""
    token = services().catalog.find(forms.token(request.form))
    try:
        change = services().registry.edit(operator(), token, forms.typed(request.form, forms.TOKEN))
        return _done("edited", change)
    except InvalidFieldsError as error:
        return _token_page(token, error.problems)


@bp.post("/disable_token")
def disable_token() -> Response:
    """Disable a token; it can be enabled again."""
    return _done("disabled", services().registry.enable(operator(), _token(), enabled=False))


@bp.post("/enable_token")
def enable_token() -> Response:
    """Enable a token."""
    return _done("enabled", services().registry.enable(operator(), _token(), enabled=True))


@bp.post("/rotate_token")
def rotate_token() -> Shown:
    """Give a token a new secret and show it, only this once."""
    token, grace = _token("grace_seconds"), request.form.get("grace_seconds", "0")
    return _issued(services().registry.rotate(operator(), token, grace), grace=grace)


@bp.post("/delete_token")
def delete_token() -> Response:
    """Delete a token permanently."""
    change = services().registry.delete(operator(), _token())
    return redirect(url_for("admin.index", deleted=change.token.id, disk=_disk(change)), 303)


def _token(*others: str) -> Token:
    """Return the token that a form names; the form has no other fields but *others*."""
    forms.refuse_others(request.form, forms.TOKEN, *others)
    return services().catalog.find(forms.token(request.form))


def _issued(issued: Issued, **more: Any) -> str:
    shown = {"token": issued.token, "secret": issued.secret, "disk": _disk(issued)}
    return _render("issued.html", issued.changed_at, **shown | more)


def _done(verb: str, change: Change) -> Response:
    token = change.token
    name = token.digest if forms.token(request.form) == token.digest else token.id
    return redirect(url_for("admin.token_page", token_id=name, done=verb, disk=_disk(change)), 303)


def _disk(change: Change) -> str | None:
    """Return what the page after *change* shows of its durability, and log it."""
    log_durability(change.durability)
    return _shown_of(change.durability, _SHOWN_AFTER_A_CHANGE)


def _shown_of(durability: Durability, shown: set[Durability]) -> str | None:
    return durability.value if durability in shown else None


def _token_page(token: Token, problems: dict[str, str] | None = None) -> Shown:
    typed = forms.as_typed(request.form) if problems else {}
    now_s = services().registry.now_s
    usage = services().catalog.usage(token, now_s)
    page = _render("token.html", now_s, token=token, usage=usage, problems=problems or {}, typed=typed)
    return (page, 400) if problems else page


def _form_again(problems: dict[str, str], title: str = _NOT_CREATED) -> str:
    typed, key = forms.as_typed(request.form), forms.new_idempotency_key()
    return _render("create.html", title=title, problems=problems, typed=typed, form=key)


def _render(template: str, now_s: int | None = None, **context: Any) -> str:
    """Render *template*, yielding to other greenlets in between, because a long table takes a while."""
    settings = services().settings
    now = services().registry.now_s if now_s is None else now_s
    pieces = []
    for piece in stream_template(template, settings=settings, now=now, **context):
        pieces.append(piece)
        if len(pieces) % _PIECES_AT_ONCE == 0:
            gevent.sleep(0)
    return "".join(pieces)


def _problem(status: int, message: str) -> tuple[str, int]:
    return render_template("problem.html", status=status, message=message), status


def show_invalid(error: InvalidFieldsError) -> tuple[str, int]:
    """Show which field, or which parameter of a page, can't be used."""
    return _problem(400, f"Nothing was changed. {error}" if request.method == "POST" else str(error))


def show_missing(error: NoSuchTokenError) -> tuple[str, int]:
    """Show that there is no such token."""
    return _problem(404, str(error))


def show_conflict(error: ConflictError) -> tuple[str, int]:
    """Show that the token is not in the state that the change requires."""
    return _problem(409, str(error))


def show_http_error(error: HTTPException) -> Response | tuple[str, int]:
    """Show an HTTP error as a page; errors that views raise on purpose say what to do."""
    if error.response is not None:
        return error.response
    return _problem(error.code or 500, error.description or error.name)


def show_unavailable(error: StoreUnavailableError) -> tuple[str, int, dict[str, str]]:
    """Show which change Redis did not make or may not have made; keep what was typed for a new token."""
    message = why(error, request.endpoint)
    if request.endpoint == "admin.create_token":
        is_unknown = isinstance(error, UnknownOutcomeError)
        body = _form_again({"": message}, "The token may exist" if is_unknown else _NOT_CREATED)
    else:
        body, _ = _problem(503, message)
    return body, 503, {"Retry-After": "1"}
