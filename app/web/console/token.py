"""The page of one token, and what can be done to it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from flask import redirect, request, url_for
from werkzeug.sansio.response import Response

from app.core import durations, extension
from app.core.audit import FoundEntries, Wanted
from app.core.errors import StoreUnavailableError
from app.core.fields import InvalidFieldsError
from app.core.snippets import example_host, snippets
from app.core.standing import standing
from app.core.tokens import Token
from app.services import services
from app.web import forms
from app.web.actors import operator
from app.web.console.blueprint import bp
from app.web.console.new import show_secret
from app.web.console.rendering import Shown, done, doubt_after, render

_CHANGES = 20
_PLACEHOLDER = "YOUR-SECRET"
_MOVED = "the end has changed since this page was shown; press again to extend it further"


@bp.get("/tokens/<token_id>")
def token_page(token_id: str) -> Shown:
    """Show one token, its usage, its changes, and what can be done to it."""
    return _page(services().catalog.find_public(token_id))


@bp.post("/disable_token")
def disable_token() -> Response:
    """Disable a token; it can be enabled again."""
    return done("disabled", services().registry.enable(operator(), _token(), enabled=False))


@bp.post("/enable_token")
def enable_token() -> Response:
    """Enable a token."""
    return done("enabled", services().registry.enable(operator(), _token(), enabled=True))


@bp.post("/extend_token")
def extend_token() -> Shown | Response:
    """Give a token a later end: ``by`` a duration, from its end or from now if that is later."""
    token, typed = _token("by", forms.SEEN), request.form.get("by", "")
    registry = services().registry
    if request.form.get(forms.SEEN) not in {None, str(token.expires_at)}:
        return _page(token, {"by": _MOVED}), 409
    try:
        end = extension.extended_by(token, _span("by", typed), registry.now_s)
        return done("extended", registry.edit(operator(), token, {"expires_at": end}))
    except InvalidFieldsError as error:
        return _page(token, {"by": next(iter(error.problems.values()))}), 400


@bp.post("/rotate_token")
def rotate_token() -> Shown:
    """Give a token a new secret and show it, only this once."""
    token, grace = _token("grace_seconds"), request.form.get("grace_seconds", "0")
    try:
        return show_secret(services().registry.rotate(operator(), token, grace), grace=grace)
    except InvalidFieldsError as error:
        return _page(token, error.problems), 400


@bp.post("/delete_token")
def delete_token() -> Response:
    """Delete a token permanently."""
    change = services().registry.delete(operator(), _token())
    return redirect(url_for("admin.index", deleted=change.token.id, disk=doubt_after(change)), 303)


def _token(*others: str) -> Token:
    """Return the token that a form names; the form has no other fields but *others*."""
    forms.refuse_others(request.form, forms.TOKEN, *others)
    return services().catalog.find(forms.token(request.form))


def _span(name: str, typed: str) -> int:
    """Return the seconds of a duration, at least one; raise InvalidFieldsError."""
    try:
        span_s = durations.parse(typed.strip())
    except ValueError as error:
        raise InvalidFieldsError({name: str(error)}) from None
    if not span_s:
        raise InvalidFieldsError({name: "a duration such as 30d; 0 would change nothing"})
    return span_s


def _page(token: Token, problems: Mapping[str, str] | None = None) -> str:
    """Return the page of *token*; *problems* are those of a form that was sent from it."""
    catalog, now_s = services().catalog, services().registry.now_s
    settings = services().settings
    limit = settings.limit.of(token.rate_limit_max, token.rate_limit_window_sec)
    usage = catalog.usage(token, now_s)
    return render(
        "token.html",
        now_s,
        token=token,
        standing=standing(token, now_s, usage),
        usage=usage,
        limit=limit,
        admitted=catalog.admitted(token, limit) if limit.max_requests and not token.fault else 0,
        changes=_changes(token),
        example=example_host(token.hosts),
        placeholder=_PLACEHOLDER,
        snippets=snippets(settings.credential_sources, _PLACEHOLDER, token),
        problems=problems or {},
    )


def _changes(token: Token) -> FoundEntries | None:
    """Return the newest changes of *token*, None if the log can't be read now."""
    with suppress(StoreUnavailableError):
        return services().audit.newest(Wanted(token_id=token.id), None, _CHANGES)
    return None
