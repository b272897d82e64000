"""The page of one token, and what can be done to it."""

from __future__ import annotations

from flask import redirect, request, url_for
from werkzeug.sansio.response import Response

from app.core.changes import Change
from app.core.tokens import Token
from app.services import services
from app.web import forms
from app.web.actors import operator
from app.web.console.blueprint import bp
from app.web.console.new import show_secret
from app.web.console.rendering import Shown, doubt_after, render


@bp.get("/tokens/<token_id>")
def token_page(token_id: str) -> Shown:
    """Show one token, its usage and the actions on it."""
    return _token_page(services().catalog.find_public(token_id))


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
    return show_secret(services().registry.rotate(operator(), token, grace), grace=grace)


@bp.post("/delete_token")
def delete_token() -> Response:
    """Delete a token permanently."""
    change = services().registry.delete(operator(), _token())
    return redirect(url_for("admin.index", deleted=change.token.id, disk=doubt_after(change)), 303)


def _token(*others: str) -> Token:
    """Return the token that a form names; the form has no other fields but *others*."""
    forms.refuse_others(request.form, forms.TOKEN, *others)
    return services().catalog.find(forms.token(request.form))


def _done(verb: str, change: Change) -> Response:
    token = change.token
    name = token.digest if forms.token(request.form) == token.digest else token.id
    return redirect(url_for("admin.token_page", token_id=name, done=verb, disk=doubt_after(change)), 303)


def _token_page(token: Token) -> str:
    now_s = services().registry.now_s
    return render("token.html", now_s, token=token, usage=services().catalog.usage(token, now_s))
