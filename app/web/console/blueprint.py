"""The blueprint of all pages, with the password and the form that they require."""

from __future__ import annotations

from flask import Blueprint, request

from app.web import forms
from app.web.basic_auth import basic_auth

bp = Blueprint("admin", __name__)


@bp.before_request
@basic_auth.login_required  # type: ignore[untyped-decorator]
def _require_operator() -> None:
    """Require the operator's password for every page of this blueprint."""


@bp.before_request
def _require_form() -> None:
    if request.method == "POST":
        forms.require(request)
