"""The form that edits a token."""

from __future__ import annotations

from collections.abc import Mapping

from flask import request
from werkzeug.sansio.response import Response

from app.core.fields import InvalidFieldsError, formatted
from app.core.tokens import Token
from app.services import services
from app.web import forms
from app.web.actors import operator
from app.web.console.blueprint import bp
from app.web.console.new import opening
from app.web.console.rendering import Shown, done, render


@bp.get("/tokens/<token_id>/edit")
def edit_page(token_id: str) -> str:
    """Show the form that edits a token; one that can't be edited is a 409."""
    token = services().catalog.find_public(token_id)
    services().registry.refuse_edit(token)
    return _form(token, formatted(token))


@bp.post("/edit_token")
def edit_token() -> Shown | Response:
    """Change the submitted fields of a token and leave the others unchanged."""
    token = services().catalog.find(forms.token(request.form))
    try:
        change = services().registry.edit(operator(), token, forms.typed(request.form, forms.TOKEN))
    except InvalidFieldsError as error:
        return _form(token, formatted(token) | forms.as_typed(request.form), error.problems), 400
    return done("edited", change)


def _form(token: Token, typed: Mapping[str, str], problems: Mapping[str, str] | None = None) -> str:
    now_s = services().registry.now_s
    shown = opening(typed, token.expires_at, now_s)
    return render("edit.html", now_s, token=token, problems=problems or {}, **shown)
