"""The form for a new token, and the page that shows a secret once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import request

from app.core import summary
from app.core.changes import Issued
from app.core.errors import AlreadyIssuedError
from app.core.fields import FIELDS, InvalidFieldsError, unknown
from app.core.snippets import snippets
from app.services import services
from app.web import forms
from app.web.actors import operator
from app.web.console.blueprint import bp
from app.web.console.rendering import Shown, doubt_after, render
from app.web.console.templates import TEMPLATES, choose, filled

NOT_CREATED = "No token was created"
_TEMPLATE, _FILLED_BY = "template", "filled_by"


@bp.get("/new")
def new_token() -> str:
    """Show the form for a new token, filled by the template that the address names."""
    name = request.args.get(_TEMPLATE, "")
    return _form(_filled_by(name), chosen=name)


@bp.post("/new")
def choose_template() -> str:
    """Show the form again, filled by another template, with what was typed."""
    typed = forms.typed(request.form, forms.IDEMPOTENCY_KEY, _TEMPLATE, _FILLED_BY)
    if problems := unknown(typed, FIELDS):
        raise InvalidFieldsError(problems)
    name, before = request.form.get(_TEMPLATE, ""), request.form.get(_FILLED_BY, "")
    choice = choose(typed, _filled_by(before), _filled_by(name))
    return _form(choice.fields, chosen=name, choice=choice)


@bp.post("/create_token")
def create_token() -> Shown:
    """Create a token and show its secret, only this once."""
    try:
        typed = forms.typed(request.form, forms.IDEMPOTENCY_KEY, _FILLED_BY)
        issued = services().registry.issue(operator(), typed, request.form.get(forms.IDEMPOTENCY_KEY))
    except InvalidFieldsError as error:
        return form_again(error.problems), 400
    except AlreadyIssuedError as error:
        return form_again({"": f"{error}. Send this form for another token."}), 409
    return show_secret(issued)


def show_secret(issued: Issued, **more: Any) -> str:
    """Show the secret of a new or rotated token, only this once."""
    sources = services().settings.credential_sources
    shown = {"token": issued.token, "secret": issued.secret, "disk": doubt_after(issued)}
    ready = snippets(sources, issued.secret, issued.token)
    return render("issued.html", issued.changed_at, snippets=ready, **shown | more)


def form_again(problems: dict[str, str], title: str = NOT_CREATED) -> str:
    """Show the form for a new token again, with its problems and what was typed."""
    chosen = request.form.get(_FILLED_BY, "")
    return _form(forms.as_typed(request.form), title=title, problems=problems, chosen=chosen)


def opening(typed: Mapping[str, str], blank_end: int | None, now_s: int) -> dict[str, Any]:
    """Return what the form shows: what was *typed*, what such a token opens, and the words for the script."""
    limit = services().settings.limit
    opens = summary.of_typed(typed, limit, blank_end, now_s)
    return {"typed": typed, "opens": opens, "live": summary.for_script(limit, blank_end)}


def _filled_by(name: str) -> dict[str, str]:
    """Return the fields of the template *name*, none if there is no such template."""
    template = TEMPLATES.get(name)
    return filled(template, services().settings.max_ttl_seconds) if template else {}


def _form(typed: Mapping[str, str], **more: Any) -> str:
    now_s = services().registry.now_s
    shown = opening(typed, summary.after(services().settings.default_ttl_s, now_s), now_s)
    key = forms.new_idempotency_key()
    return render("create.html", now_s, form=key, templates=TEMPLATES, **shown | more)
