"""Show the errors that the core raises in the views of pages."""

from __future__ import annotations

from contextlib import suppress

from flask import current_app, request
from werkzeug.exceptions import HTTPException
from werkzeug.sansio.response import Response

from app.core.errors import ConflictError, NoSuchTokenError, StoreUnavailableError, UnknownOutcomeError
from app.core.fields import InvalidFieldsError
from app.core.search import may_be_secret
from app.core.tokens import is_public_name
from app.services import services
from app.web import forms
from app.web.console.blueprint import bp
from app.web.console.new import NOT_CREATED, form_again
from app.web.console.rendering import problem
from app.web.messages import why
from app.web.problems import refusal


def show_invalid(error: InvalidFieldsError) -> tuple[str, int]:
    """Show which field, or which parameter of a page, can't be used."""
    return problem(400, f"Nothing was changed. {error}" if request.method == "POST" else str(error))


def show_missing(error: NoSuchTokenError) -> tuple[str, int]:
    """Show that there is no such token."""
    return problem(404, str(error))


def show_conflict(error: ConflictError) -> tuple[str, int]:
    """Show that the token is not in the state that the change requires."""
    return problem(409, str(error))


def show_http_error(error: HTTPException) -> Response | tuple[str, int]:
    """Show an HTTP error as a page; errors that views raise on purpose say what to do."""
    if error.response is not None:
        return error.response
    status, message = error.code or 500, error.description or error.name
    return problem(status, message) if bp.name in current_app.blueprints else refusal(status, message)


def show_unavailable(error: StoreUnavailableError) -> tuple[str, int, dict[str, str]]:
    """Show which change Redis did not make or may not have made, with the form to send it again."""
    message, form = why(error, request.endpoint), _sent()
    if form and request.endpoint == "admin.create_token":
        is_unknown = isinstance(error, UnknownOutcomeError)
        body = form_again({"": message}, "The token may exist" if is_unknown else NOT_CREATED)
    else:
        body, _ = problem(503, message, form if form and _is_public(form) else None)
    return body, 503, {"Retry-After": "1"}


def _sent() -> forms.Form | None:
    """Return the form that was sent, None if there is none or it can't be read."""
    with suppress(HTTPException):
        return request.form
    return None


def _is_public(form: forms.Form) -> bool:
    """Tell whether a page may repeat *form*: it names tokens by id or SHA-256, and searches for no secret."""
    prefix = services().settings.token_prefix
    return all(map(is_public_name, form.getlist(forms.TOKEN))) and not any(
        may_be_secret(text, prefix) for text in form.getlist("q")
    )
