"""The form for a new token, and the page that shows a secret once."""

from __future__ import annotations

from typing import Any

from flask import request

from app.core.changes import Issued
from app.core.errors import AlreadyIssuedError
from app.core.fields import InvalidFieldsError
from app.services import services
from app.web import forms
from app.web.actors import operator
from app.web.console.blueprint import bp
from app.web.console.rendering import Shown, doubt_after, render

NOT_CREATED = "No token was created"


@bp.get("/new")
def new_token() -> str:
    """Show the form for a new token."""
    return render("create.html", form=forms.new_idempotency_key())


@bp.post("/create_token")
def create_token() -> Shown:
    """Create a token and show its secret, only this once."""
    try:
        typed = forms.typed(request.form, forms.IDEMPOTENCY_KEY)
        issued = services().registry.issue(operator(), typed, request.form.get(forms.IDEMPOTENCY_KEY))
    except InvalidFieldsError as error:
        return form_again(error.problems), 400
    except AlreadyIssuedError as error:
        return form_again({"": f"{error}. Send this form for another token."}), 409
    return show_secret(issued)


def show_secret(issued: Issued, **more: Any) -> str:
    """Show the secret of a new or rotated token, only this once."""
    shown = {"token": issued.token, "secret": issued.secret, "disk": doubt_after(issued)}
    return render("issued.html", issued.changed_at, **shown | more)


def form_again(problems: dict[str, str], title: str = NOT_CREATED) -> str:
    """Show the form for a new token again, with its problems and what was typed."""
    typed, key = forms.as_typed(request.form), forms.new_idempotency_key()
    return render("create.html", title=title, problems=problems, typed=typed, form=key)
