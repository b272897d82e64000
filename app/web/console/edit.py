"""The form that edits a token."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256

from flask import request
from werkzeug.sansio.response import Response

from app.core.errors import ConflictError, NoSuchTokenError
from app.core.fields import InvalidFieldsError, formatted
from app.core.tokens import Token
from app.services import services
from app.web import forms
from app.web.actors import operator
from app.web.console.blueprint import bp
from app.web.console.new import form_again, opening
from app.web.console.rendering import Shown, done, render

Fields = Mapping[str, str]

_NOT_EDITED = "Nothing was changed"
_CHANGED = "changed since this form was shown, and is now {}; save again to replace that"
_MAX_SHOWN = 200


@bp.get("/tokens/<token_id>/edit")
def edit_page(token_id: str) -> str:
    """Show the form that edits a token; one that can't be edited is a 409."""
    token = services().catalog.find_public(token_id)
    services().registry.refuse_edit(token)
    return _form(token, formatted(token))


@bp.post("/edit_token")
def edit_token() -> Shown | Response:
    """Change the submitted fields of a token; leave the others, and those that stayed as shown, unchanged."""
    try:
        token = _token()
    except NoSuchTokenError as error:
        return form_again({"": f"{error}. This form creates another token"}, _NOT_EDITED), 404
    stored, seen = formatted(token), _seen(token)
    changed = _changed(forms.as_typed(request.form), stored, seen)
    typed = stored | changed
    if clashes := _clashes(changed, stored, seen):
        return _form(token, typed, clashes), 409
    try:
        sent = forms.typed(request.form, forms.TOKEN, forms.SEEN)
        change = services().registry.edit(
            operator(), token, {name: sent[name] for name in sent if name in changed}
        )
    except InvalidFieldsError as error:
        return _form(token, typed, error.problems), 400
    except ConflictError as error:
        return _form(token, typed, {"": str(error)}), 409
    return done("edited", change)


def _token() -> Token:
    """Return the token that the form names, by an older digest if it was rotated since the form was shown."""
    catalog = services().catalog
    try:
        return catalog.find(forms.token(request.form))
    except NoSuchTokenError as error:
        if forms.SEEN not in request.form or not error.digest:
            raise
        return catalog.find_public(catalog.id_of(error.digest))


def _clashes(changed: Fields, stored: Fields, seen: Fields) -> dict[str, str]:
    """Return a problem for each field that was *changed*, and that somebody else changed meanwhile."""
    clashes = [name for name in changed if name in seen and seen[name] != _mark(stored[name])]
    return {name: _CHANGED.format(_short(stored[name])) for name in clashes}


def _short(text: str) -> str:
    if not text:
        return "blank"
    return f"“{text[:_MAX_SHOWN]}{'…' if len(text) > _MAX_SHOWN else ''}”"


def _changed(typed: Fields, stored: Fields, seen: Fields) -> dict[str, str]:
    """Return the fields of *typed* that differ from what the form showed and from what is stored."""
    return {
        name: text
        for name, text in typed.items()
        if name not in seen or _mark(text) not in (seen[name], _mark(stored[name]))
    }


def _seen(token: Token) -> dict[str, str]:
    """Return the marks of what the form showed, none if it does not say."""
    return dict(zip(formatted(token), request.form.get(forms.SEEN, "").split(), strict=False))


def _mark(text: str) -> str:
    """Return a short digest of *text* with its spaces and line ends alike."""
    return sha256(" ".join(text.split()).encode()).hexdigest()[:16]


def _form(token: Token, typed: Fields, problems: Fields | None = None) -> str:
    now_s = services().registry.now_s
    shown = opening(typed, token.expires_at, now_s)
    seen = "" if token.fault else " ".join(map(_mark, formatted(token).values()))
    return render("edit.html", now_s, token=token, seen=seen, problems=problems or {}, **shown)
