"""The operator's pages."""

from __future__ import annotations

import re
from typing import Any

from flask import Blueprint, redirect, render_template, request, url_for
from werkzeug.exceptions import HTTPException
from werkzeug.sansio.response import Response

from app.core.fields import InvalidFieldsError, parse_spec
from app.core.registry import AlreadyIssuedError, NoSuchTokenError, Page, StoreUnavailableError
from app.services import services
from app.web import forms
from app.web.basic_auth import basic_auth

bp = Blueprint("admin", __name__)

_PAGE = re.compile(r"[1-9][0-9]{0,8}", re.ASCII)


@bp.before_request
@basic_auth.login_required  # type: ignore[untyped-decorator]
def _require_operator() -> None:
    """Every page of this blueprint is the operator's."""


@bp.get("/")
def index() -> str:
    """Show the tokens and the form for a new one."""
    asked = request.args.get("page", "1")
    return _table(services().registry.page(int(asked) if _PAGE.fullmatch(asked) else 1))


@bp.post("/create_token")
def create_token() -> tuple[str, int] | str:
    """Make a token and show its text, this one time."""
    made = services()
    try:
        spec = parse_spec(forms.typed(request.form), made.settings.token_ttl_seconds)
        token, text = made.registry.issue(spec, request.form.get(forms.NONCE))
    except InvalidFieldsError as error:
        return _form_again(error.problems), 400
    except AlreadyIssuedError as error:
        return _form_again({"": str(error)}), 409
    except StoreUnavailableError:
        return _form_again({"": "Redis did not confirm the new token. Try again in a moment."}), 503
    return render_template("issued.html", token=token, text=text)


@bp.post("/delete_token")
def delete_token() -> Response | tuple[str, int]:
    """Delete a token for good."""
    try:
        token = services().registry.delete(forms.only(request.form, "token"))
    except InvalidFieldsError as error:
        return _problem(400, str(error))
    except NoSuchTokenError as error:
        return _problem(404, str(error))
    return redirect(url_for("admin.index", deleted=token.id), 303)


def _table(page: Page, **context: Any) -> str:
    return render_template(
        "index.html", page=page, form=forms.new_nonce(), settings=services().settings, **context
    )


def _form_again(problems: dict[str, str]) -> str:
    return render_template(
        "create.html",
        problems=problems,
        typed={name: "\n".join(values) for name, values in request.form.lists()},
        form=forms.new_nonce(),
        settings=services().settings,
    )


def _problem(status: int, message: str) -> tuple[str, int]:
    return render_template("problem.html", status=status, message=message), status


def show_http_error(error: HTTPException) -> Response | tuple[str, int]:
    """Show an HTTP error to a person; what views raise on purpose says what to do."""
    if error.response is not None:
        return error.response
    return _problem(error.code or 500, error.description or error.name)


def show_unavailable(_error: StoreUnavailableError) -> tuple[str, int, dict[str, str]]:
    """Show that Redis did not answer."""
    body, status = _problem(
        503, "Redis is unavailable, so nothing can be shown or changed. Try again in a moment."
    )
    return body, status, {"Retry-After": "1"}
